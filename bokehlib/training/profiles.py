"""The scales at which a recipe can be trained: the embedded prior, and SDXL."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bokehlib.bokehdiff import mini
from bokehlib.bokehdiff.config import Recipe
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.bokehdiff.sdxl import loading
from bokehlib.io.errors import InputError
from bokehlib.io.weightfiles import need_weights


@dataclass(frozen=True)
class Profile:
    """A scale.

    Attributes:
        crop: side of the training pairs in pixels.
        halo: reflected margin around them in pixels, at least the largest radius.
        base: (what was given or "", recipe) -> the frozen pipeline in float32 on the CPU.
        tiny: recipe -> the same shape with a handful of channels and random weights.
    """

    crop: int
    halo: int
    base: Callable[[str, Recipe], BokehPipeline]
    tiny: Callable[[Recipe], BokehPipeline]


def _mini(given: str, recipe: Recipe) -> BokehPipeline:
    if recipe.semantics != "ours":
        raise InputError(
            f"--profile: found mini with the semantics {recipe.semantics!r}; accepted: sdxl"
        )
    if given and not Path(given).is_file():
        raise InputError(f"--base: found no file {given}; accepted: a prior's weight file")
    return mini.load_base(Path(given) if given else need_weights(mini.BASE), recipe)


PROFILES = {
    "mini": Profile(crop=192, halo=32, base=_mini, tiny=mini.tiny),
    "sdxl": Profile(crop=512, halo=64, base=loading.trainee, tiny=loading.tiny_pipeline),
}
