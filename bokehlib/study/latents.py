"""Latent spaces to compare: the paper's limitation is what its autoencoder loses (Sec. 5)."""

from dataclasses import dataclass, replace

from bokehlib.study.recipes import FULL
from bokehlib.study.trainings import TABLE_STEPS, on_mini

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


@dataclass(frozen=True)
class Lessons:
    """How long each stage learns, in steps; the same for every latent."""

    autoencoder: int = 1_200
    prior: int = 600
    one_step: int = TABLE_STEPS
    crops: int = 32  # of a photograph, in a step of the first two
    pairs: int = 16  # in a step of the last


EMBEDDED_LATENT = Latent(4, 8)
LATENTS = {
    f"f{latent.factor}-c{latent.channels}": latent
    for latent in (Latent(factor, channels) for factor in (4, 8) for channels in (4, 8, 16))
}
# The complete model. Its whole U-Net is tuned, since so short a prior is not worth keeping.
LATENT_RECIPE = replace(on_mini(FULL), whole=True)
