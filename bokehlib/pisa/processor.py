"""PISA as a diffusers attention processor, and its installation into a U-Net.

The U-Net hands `cross_attention_kwargs={"optics": {tokens: TokenOptics}}` to every attention;
a layer finds its own grid by its number of tokens. Nothing is kept between two calls.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from bokehlib.optics import Visibility
from bokehlib.pisa import pisa_attention

LEAST_COVERAGE = 1e-3  # a query that less light reaches stays dark


@dataclass(frozen=True)
class TokenOptics:
    """Optics of one token grid, shared by all its layers and heads.

    Attributes:
        grid: (h, w) of the tokens.
        radius: circle of confusion of each source, (B, h*w), in tokens.
        visibility: share of each source that reaches each query (Eq. 8), or None.
        hardness: of the mask's edge (S1), > 1. Where it changes from call to call, a 0-d tensor
            spares compiled networks a new compilation.
    """

    grid: tuple[int, int]
    radius: torch.Tensor
    visibility: Visibility | None
    hardness: float | torch.Tensor


def for_any_lens(found: dict[int, TokenOptics], hardness: float) -> dict[int, TokenOptics]:
    """The same for a compiled U-Net, which is not to be compiled anew for every lens.

    The window of visibility grows with the lens, and hardness with training.
    """
    for grid in found.values():
        if grid.visibility is not None:
            torch._dynamo.maybe_mark_dynamic(grid.visibility.counts, (2, 3))
    return {
        tokens: replace(here, hardness=torch.full((), hardness, device=here.radius.device))
        for tokens, here in found.items()
    }


class AttentionProcessor:
    """The projections of a layer around the attention that a subclass brings as `attend`."""

    def __call__(
        self,
        attn,
        hidden_states,
        encoder_hidden_states=None,
        attention_mask=None,
        temb=None,
        optics=None,
    ):
        """(B, N, C) -> (B, N, C); cross-attention where encoder_hidden_states is given.

        Raises:
            ValueError: if the optics are not what the subclass needs.
        """
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = _project(attn, hidden_states, source)
        return _merge(attn, self.attend(q, k, v, attention_mask, optics))

    def attend(self, q, k, v, attention_mask, optics) -> torch.Tensor:
        """q, k, v (B, heads, N, D) -> (B, heads, N, D)."""
        raise NotImplementedError


class PlainProcessor(AttentionProcessor):
    """Scaled dot-product attention that is deaf to the optics (Eq. 2)."""

    def attend(self, q, k, v, attention_mask, optics) -> torch.Tensor:
        """Eq. 2."""
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask)


class PisaProcessor(AttentionProcessor):
    """Physics-inspired self-attention (Eq. 3-9) in the place of a plain self-attention."""

    def __init__(
        self, normalise: str = "queries", coc: bool = True, divide_by_coverage: bool = False
    ):
        """Set the switches.

        Args:
            normalise: "queries" (Eq. 3) or "keys" (Eq. 2).
            coc: whether the circle-of-confusion mask stands inside the softmax (Eq. 5).
            divide_by_coverage: whether the light that a query receives is divided by the sum of
                its weights, at least 1e-3, so that a constant image stays constant.
        """
        self.normalise, self.coc = normalise, coc
        self.divide_by_coverage = divide_by_coverage

    def attend(self, q, k, v, attention_mask, optics) -> torch.Tensor:
        """Eq. 9 on the grid of N tokens; a ValueError if `optics` has none."""
        tokens = q.shape[2]
        if not optics or tokens not in optics:
            raise ValueError(
                f"PISA got no optics for {tokens} tokens; given: {sorted(optics or {})}"
            )
        light = self._attend(q, k, v, optics[tokens])
        if self.divide_by_coverage:
            # Of v's shape, which the Triton kernels ask for; all channels are alike.
            coverage = self._attend(q, k, torch.ones_like(v), optics[tokens])[..., :1]
            light = light / coverage.clamp(min=LEAST_COVERAGE)
        return light

    def _attend(self, q, k, v, here: TokenOptics):
        return pisa_attention(
            q,
            k,
            v,
            here.radius,
            here.grid,
            visibility=here.visibility,
            normalise=self.normalise,
            coc=self.coc,
            hardness=here.hardness,
        )


def install(
    unet,
    sites: tuple[str, ...],
    normalise: str = "queries",
    coc: bool = True,
    divide_by_coverage: bool = False,
) -> None:
    """Put PISA into the self-attentions named by `sites`, plain attention everywhere else.

    Args:
        unet: a diffusers UNet2DConditionModel, changed in place.
        sites: parts of module paths; a self-attention (`attn1`) whose path contains one of them
            gets PISA. `()` leaves none.
        normalise: "queries" or "keys".
        coc: whether the circle-of-confusion mask is on.
        divide_by_coverage: see `PisaProcessor`.

    Raises:
        ValueError: if a site matches no self-attention.
    """
    names = [name.removesuffix(".processor") for name in unet.attn_processors]
    selfs = [name for name in names if name.endswith("attn1")]
    for site in sites:
        if not any(site in name for name in selfs):
            raise ValueError(f"site {site!r} matches no self-attention; there are: {selfs}")
    chosen = {name for name in selfs if any(site in name for site in sites)}
    place(unet, chosen, lambda: PisaProcessor(normalise, coc, divide_by_coverage))


def place(unet, chosen: set[str], make: Callable[[], AttentionProcessor]) -> None:
    """Give the attentions at these module paths a processor each, all others a plain one."""
    names = [name.removesuffix(".processor") for name in unet.attn_processors]
    unet.set_attn_processor(
        {f"{name}.processor": make() if name in chosen else PlainProcessor() for name in names}
    )


def pisa_sites(unet) -> list[str]:
    """Module paths of the attentions that carry PISA."""
    return [
        name.removesuffix(".processor")
        for name, processor in unet.attn_processors.items()
        if isinstance(processor, PisaProcessor)
    ]


def _project(attn, queries, sources):
    """Heads apart: (B, N, C) -> (B, heads, N, C/heads) for q, k and v."""

    def heads(x):
        return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

    return heads(attn.to_q(queries)), heads(attn.to_k(sources)), heads(attn.to_v(sources))


def _merge(attn, x):
    """Heads together and through the output projection: (B, heads, N, D) -> (B, N, C)."""
    return attn.to_out[1](attn.to_out[0](x.transpose(1, 2).flatten(2)))
