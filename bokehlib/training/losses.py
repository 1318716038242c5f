"""The losses of Sec. 3.4. Images are in [-1, 1], (B, 3, H, W); every term is a mean.

The paper leaves three things open and this file decides them: norms are means over pixels,
channels and directions (the print says L1 norm), images are in [-1, 1], and the "extended Sobel"
of size 1, 2, 3 is the central difference, Roberts' cross and Sobel's operator, each scaled to
answer a ramp of slope 1 per pixel with a gradient of length 1.
"""

import torch
import torch.nn.functional as F

from bokehlib.bokehdiff.config import LossWeights
from bokehlib.io.errors import InputError

_ROBERTS = torch.tensor([[1.0, 0.0], [0.0, -1.0]]) / 2**0.5
_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
GRADIENT_KERNELS = {  # size -> the pair of kernels of Eq. 10
    1: (torch.tensor([[-0.5, 0.0, 0.5]]), torch.tensor([[-0.5], [0.0], [0.5]])),
    2: (_ROBERTS, _ROBERTS.flip(-1)),
    3: (_SOBEL, _SOBEL.T),
}


def gradients(image: torch.Tensor, size: int) -> list[torch.Tensor]:
    """The two gradients of one size (Eq. 10), in image units per pixel.

    Args:
        image: (B, C, H, W), H and W at least 3.
        size: 1, 2 or 3.

    Returns:
        Two tensors, only where the kernel lies inside the image.
    """
    flat = image.flatten(0, 1).unsqueeze(1)  # every channel is a picture of its own
    return [F.conv2d(flat, kernel.to(image)[None, None]) for kernel in GRADIENT_KERNELS[size]]


def multiscale_edge(
    prediction: torch.Tensor, target: torch.Tensor, sharp: torch.Tensor
) -> torch.Tensor:
    """Multi-scale edge loss (Eq. 10): gradients must agree where target or input has edges.

    Args:
        prediction: (B, 3, H, W) in [-1, 1].
        target: the image with lens blur, same shape.
        sharp: the all-in-focus image, same shape.

    Returns:
        A scalar, 0 for equal images.
    """
    total = prediction.new_zeros(())
    for size in GRADIENT_KERNELS:
        triples = zip(*(gradients(x, size) for x in (prediction, target, sharp)), strict=True)
        terms = [((p - t) * torch.maximum(t.abs(), s.abs())).abs().mean() for p, t, s in triples]
        total = total + torch.stack(terms).mean() / size**2
    return total


def authors_edge(
    prediction: torch.Tensor, target: torch.Tensor, sharp: torch.Tensor
) -> torch.Tensor:
    """The published code's edge loss (docs/divergences.md, D4): forward differences, three scales.

    Images are shrunk to 1/l by area means, l = 1, 2, 3; a difference counts 1 + the larger of
    target's and input's, and a scale 1/l.

    Args: as in `multiscale_edge`.
    """
    total = prediction.new_zeros(())
    for scale in (1, 2, 3):
        p, t, s = (F.avg_pool2d(x, scale) for x in (prediction, target, sharp))
        terms = []
        for axis in (-2, -1):
            dp, dt, ds = (x.diff(dim=axis) for x in (p, t, s))
            terms.append(((dp - dt) * (1 + torch.maximum(dt.abs(), ds.abs()))).abs().mean())
        total = total + torch.stack(terms).mean() / scale
    return total


EDGES = {"paper": multiscale_edge, "authors": authors_edge}


def adversarial(made: torch.Tensor) -> torch.Tensor:
    """Generator loss: -E log D(prediction), the non-saturating log loss.

    Args:
        made: logits of the discriminator for predictions, any shape; D is their sigmoid.

    Returns:
        A scalar, the mean over images and places; log 2 where the discriminator cannot tell.
    """
    return F.softplus(-made.float()).mean()


def discrimination(real: torch.Tensor, made: torch.Tensor) -> dict[str, torch.Tensor]:
    """Discriminator loss: minus L_D of Eq. 11, which the paper maximises.

    Args:
        real: logits for true pictures with lens blur, any shape.
        made: logits for predictions.

    Returns:
        Its two halves, -E log D(real) and -E log(1 - D(made)); their sum is -L_D.
    """
    return {
        "discriminator_real": F.softplus(-real.float()).mean(),
        "discriminator_made": F.softplus(made.float()).mean(),
    }


class BokehLoss(torch.nn.Module):
    """The weighted sum of Eq. 12, term by term."""

    def __init__(
        self,
        weights: LossWeights,
        perceptual: torch.nn.Module | None = None,
        discriminator: torch.nn.Module | None = None,
        edge: str = "paper",
    ):
        """Check that every term with a weight can be computed.

        Args:
            weights: the lambdas; a term of weight 0 is not computed.
            perceptual: LPIPS network taking images in [-1, 1] (needed where its weight is not 0).
            discriminator: images in [-1, 1] -> logits (needed where its weight is not 0). This
                loss does not train it, but its parameters collect gradients.
            edge: which of `EDGES`.

        Raises:
            InputError: if a term is asked for that cannot be computed.
        """
        super().__init__()
        if weights.perceptual and perceptual is None:
            raise InputError(f"perceptual weight {weights.perceptual} needs an LPIPS network")
        if weights.adversarial and discriminator is None:
            raise InputError(f"adversarial weight {weights.adversarial} needs a discriminator")
        if edge not in EDGES:
            raise InputError(f"edge: found {edge!r}; accepted: {', '.join(EDGES)}")
        self.weights, self.edge = weights, EDGES[edge]
        self.perceptual = perceptual if weights.perceptual else None
        self.discriminator = discriminator if weights.adversarial else None

    def forward(self, prediction, target, sharp) -> dict[str, torch.Tensor]:
        """Weighted terms by name; their sum is the loss. All images in [-1, 1]."""
        terms = {"mse": self.weights.mse * F.mse_loss(prediction, target)}
        clamped = prediction.clamp(-1, 1)  # the networks are made for images
        if self.perceptual is not None:
            terms["perceptual"] = self.weights.perceptual * self.perceptual(clamped, target).mean()
        if self.weights.edge:
            terms["edge"] = self.weights.edge * self.edge(prediction, target, sharp)
        if self.discriminator is not None:
            judged = self.discriminator(clamped)
            terms["adversarial"] = self.weights.adversarial * adversarial(judged)
        return terms
