"""What decides a model and its training; every default is the paper's. Standard library only."""

from dataclasses import dataclass, replace
from typing import Any

FINEST_TOKEN = 8  # px; PISA stands on every grid of the way down that is no finer


@dataclass(frozen=True)
class Latent:
    """What an autoencoder makes of a picture."""

    factor: int  # pixels a side, in y and x alike; a power of 2
    channels: int

    @property
    def levels(self) -> int:
        """Levels of the autoencoder, each half the size of the one before."""
        return self.factor.bit_length()

    @property
    def label(self) -> str:
        """As printed."""
        return f"{self.factor} px, {self.channels} channels"

    @property
    def share(self) -> float:
        """Numbers of a latent for each number of the picture that it stands for."""
        return self.channels / (3 * self.factor**2)

    @property
    def fine(self) -> bool:
        """Whether self-attention stands at the latents' own size, see `FINEST_TOKEN`."""
        return self.factor >= FINEST_TOKEN


EMBEDDED_LATENT = Latent(4, 8)


@dataclass(frozen=True)
class Pisa:
    """Where PISA stands in the U-Net and which of its three ideas are on (Sec. 3.2)."""

    sites: tuple[str, ...] = ("down_blocks",)  # self-attentions whose module path has one of these
    normalise: str = "queries"  # "queries" (Eq. 3) or "keys" (plain softmax, Eq. 2)
    coc: bool = True  # circle-of-confusion mask (Eq. 5, 6)
    occlusion: bool = True  # self-occlusion (Eq. 7-9)
    visibility: str = "paper"  # the model of self-occlusion: "paper" or "thin_lens"
    divide_by_coverage: bool = False  # a constant image stays constant


@dataclass(frozen=True)
class LossWeights:
    """The lambdas of Eq. 12."""

    mse: float = 1.0
    perceptual: float = 5.0
    edge: float = 1.0
    adversarial: float = 0.5


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run makes; `Recipe()` is the complete model."""

    pisa: Pisa = Pisa()
    weights: LossWeights = LossWeights()
    timestep: int = 499
    encoder: str = "lora"  # of the encoder's end: "lora", "full" or "fixed"; or as the "authors" do
    rank: int = 8  # of every LoRA pair
    whole: bool = False  # the whole U-Net is tuned, without LoRA
    lora_blocks: tuple[str, ...] = ("down_blocks",)  # U-Net parts that carry LoRA
    learning_rate: float = 1e-4  # AdamW, cosine to zero
    warmup_steps: int = 0
    batch_size: int = 2
    steps: int = 20_000
    perceptual_net: str = "vgg"  # backbone of LPIPS in the loss: "vgg", "squeeze" or "alex"
    seed: int = 0
    # Beyond the paper
    detail: bool = False  # the networks keep away from what is right without them
    refined: bool = False  # outlines of the disparity are moved to those of the photo first
    optics_channels: bool = False  # defocus and disparity beside the latent
    classical: bool = False  # the classical render (in layers), corrected in latent space
    fine: bool = False  # self-attention on the way down at the latents' own size, too
    disturbed: float = 0.0  # px by which every second training pair's disparity may be wrong
    # The published command line's, where the paper says otherwise or nothing
    semantics: str = "ours"  # the maths that it is trained under: "ours" or "published"
    edge: str = "paper"  # the edge loss: "paper" (Eq. 10) or "authors"
    hardening: str = "geometric"  # of the mask's edge; "steps": 3 and 2 more a step
    adversarial_from: int = 0  # the step from which the adversarial term counts
    encoder_rate: float = 1.0  # the encoder's learning rate over the U-Net's


def recipe_from(values: dict[str, Any]) -> Recipe:
    """A recipe from its plain JSON form."""

    def restore(kind, items):
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in items.items()})

    pisa, weights = restore(Pisa, values["pisa"]), restore(LossWeights, values["weights"])
    return restore(Recipe, {**values, "pisa": pisa, "weights": weights})


FULL = Recipe()

# The published command line (docs/divergences.md, D1 to D5).
AS_PUBLISHED = replace(
    FULL,
    pisa=Pisa(sites=("down_blocks.1.attentions.0.",)),
    weights=replace(FULL.weights, adversarial=0.1),
    encoder="authors",
    lora_blocks=("down_blocks", "mid_block", "up_blocks"),
    learning_rate=5e-5,
    warmup_steps=20,
    batch_size=1,
    steps=120_000,
    semantics="published",
    edge="authors",
    hardening="steps",
    adversarial_from=30_000,
    encoder_rate=0.1,
)
