"""Pictures for a study where there are none yet: photographs that come with the installation."""

from collections.abc import Callable

import torch

from bokehlib import methods, study
from bokehlib.data.demo_photos import Photo, astronaut_made, evening_glow_made, motorcycle
from bokehlib.extras.user_study.page import Case
from bokehlib.optics import Lens

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


@torch.inference_mode()
def render_cases(smoke: bool = False) -> list[Case]:
    """The shots of `SHOTS`, rendered by every method that is ready, the photo itself aside.

    Args:
        smoke: fewer shots in thumbnail size, by two methods that are quick.
    """
    ready = [name for name in methods.ready() if name != "input" and name in study.METHODS]
    loaded = {name: methods.load(name) for name in (["input", "scatter"] if smoke else ready)}
    cases = []
    for name in SMOKE if smoke else SHOTS:
        make, focus, opening = SHOTS[name]
        photo = make().resized(SMOKE_WIDTH if smoke else WIDTH)
        image, disparity = photo.tensors()
        lens = Lens(focus, opening * photo.width)
        rendered = {m: renderer(image, disparity, lens)[0] for m, renderer in loaded.items()}
        pictures = {m: out.permute(1, 2, 0).numpy() for m, out in rendered.items()}
        cases.append(Case(name, photo.image, pictures))
    return cases
