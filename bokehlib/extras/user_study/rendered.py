"""Pictures for a study where there are none yet: photographs that come with the installation."""

from collections.abc import Callable

import numpy as np

from bokehlib import methods, study
from bokehlib.optics import Lens
from bokehlib.photographs import Photo, astronaut_made, evening_glow_made, motorcycle
from bokehlib.extras.user_study.cases import Case

WIDTH, SMOKE_WIDTH = 640, 64  # px
SHOTS: dict[str, tuple[Callable[[], Photo], float, float]] = {  # photo, focus, aperture / width
    "motorcycle-near": (motorcycle, 0.97, 0.07),
    "motorcycle-far": (motorcycle, 0.45, 0.07),
    "astronaut-woman": (astronaut_made, 0.7, 0.05),
    "astronaut-backdrop": (astronaut_made, 0.15, 0.05),
    "evening-near": (evening_glow_made, 0.9, 0.05),
    "evening-far": (evening_glow_made, 0.05, 0.05),
}
SMOKE = [*SHOTS][:4]


def renderers() -> list[str]:
    """Names of all methods that lack nothing, the photo itself aside."""
    return [name for name in methods.ready() if name != "input" and name in study.METHODS]


def render_cases(smoke: bool = False) -> list[Case]:
    """The shots of `SHOTS`, rendered by every method that lacks nothing.

    Args:
        smoke: fewer shots in thumbnail size, by two methods that are quick.
    """
    import torch

    names = ["input", "scatter"] if smoke else renderers()
    loaded = {name: methods.load(name) for name in names}
    cases = []
    for name in SMOKE if smoke else SHOTS:
        make, focus, opening = SHOTS[name]
        photo = make().resized(SMOKE_WIDTH if smoke else WIDTH)
        image, disparity = photo.tensors()
        results: dict[str, np.ndarray] = {}
        with torch.inference_mode():
            for method, renderer in loaded.items():
                out = renderer(image, disparity, Lens(focus, opening * photo.width))
                results[method] = out[0].permute(1, 2, 0).numpy()
        cases.append(Case(name, photo.image, results))
    return cases
