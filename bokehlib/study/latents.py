"""Latent spaces to compare: the paper's limitation is what its autoencoder loses (Sec. 5)."""

from dataclasses import dataclass, replace

from bokehlib.bokehdiff.config import FULL, Latent
from bokehlib.study.trainings import TABLE_STEPS, on_mini


@dataclass(frozen=True)
class Lessons:
    """How long each stage learns, in steps; the same for every latent."""

    autoencoder: int = 1_200
    prior: int = 600
    one_step: int = TABLE_STEPS
    crops: int = 32  # of a photograph, in a step of the first two
    pairs: int = 16  # in a step of the last


LATENTS = {
    f"f{latent.factor}-c{latent.channels}": latent
    for latent in (Latent(factor, channels) for factor in (4, 8) for channels in (4, 8, 16))
}
# The complete model. Its whole U-Net is tuned, since so short a prior is not worth keeping.
LATENT_RECIPE = replace(on_mini(FULL), whole=True)
