"""What the study's strips show: pictures of photographs and scenes, rendered here.

Every strip is a function of `smoke` in `STRIPS`; `study.pictures` keeps what they return. A
method that lacks something is left out and the note says so. Importing needs no torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from bokehlib import data, methods, study
from bokehlib.data.demo_photos import Photo, astronaut_made, evening_glow_made, motorcycle

# Whatever renders on every machine, but the layers alone: the default shows them, corrected.
CANDIDATES = tuple(m for m in study.EMBEDDED if m not in ("input", "layered"))
SWEPT = ("scatter", "bokehdiff-mini")  # of them, in the strips with a picture a lens
SMOKE_WIDTH = 96  # px, of every picture in a smoke run
SCENE = 16  # of synbokeh-mini, which Fig. S3 shows
SHALLOW_SCENES, SHALLOW_LENS = (13, 19), 2  # of synbokeh-mini: no lamps; largest blur 15 px
ABLATED_SCENES = (1, 20)  # of synbokeh-mini, under the same lens
ABLATED = {  # recipe -> its first training
    recipe: study.trained_name(recipe, 0)
    for recipe in ("no_coc", "no_softmax_q", "no_occlusion", "full")
}

Cell = tuple[str, np.ndarray]  # title; (H, W, 3) or (H, W) in [0, 1]
Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of the picture


@dataclass(frozen=True)
class Strip:
    """What a figure shows: a title, a note, and rows of a label and cells."""

    title: str
    note: str
    rows: list[tuple[str, list[Cell]]]


# --- Rendering -------------------------------------------------------------------------------


def shown_methods() -> list[str]:
    """Names of the embedded methods that lack nothing, the photo itself aside."""
    return [name for name in CANDIDATES if not methods.lacks(name)]


def _left_out() -> str:
    absent = [study.METHODS[n].label for n in CANDIDATES if n not in shown_methods()]
    return "".join(f" {label} is left out: its weights are not there." for label in absent)


def _renderers(among: tuple[str, ...] = CANDIDATES) -> dict[str, Callable[..., Any]]:
    return {name: methods.load(name) for name in shown_methods() if name in among}


def _render(renderer: Callable[..., Any], photo: Photo, focus: float, opening: float) -> np.ndarray:
    """One picture; `opening` is the aperture over the picture's width."""
    import torch

    from bokehlib.optics import Lens

    with torch.inference_mode():
        out = renderer(*photo.tensors(), Lens(focus, opening * photo.width))
    return out[0].permute(1, 2, 0).numpy()


def _crop(picture: np.ndarray, box: Box) -> np.ndarray:
    height, width = picture.shape[:2]
    left, top, right, bottom = np.round(np.multiply(box, (width, height) * 2)).astype(int)
    return picture[top:bottom, left:right]


def _sources(shots: Mapping[str, tuple]) -> str:
    """Where each photograph's disparity comes from, and what is left out."""
    return " ".join(f"{name}: {shot[0].source}" for name, shot in shots.items()) + _left_out()


def _compared(
    renderers: Mapping[str, Callable[..., Any]],
    photo: Photo,
    focus: float,
    opening: float,
    box: Box,
) -> list[list[Cell]]:
    """A row of input, disparity and every method, and the same row cropped."""
    cells = [("all in focus", photo.image), ("disparity", photo.disparity)]
    for name, renderer in renderers.items():
        cells.append((study.METHODS[name].label, _render(renderer, photo, focus, opening)))
    return [cells, [("", _crop(picture, box)) for _, picture in cells]]


def _teaser(smoke: bool) -> Strip:
    photo = astronaut_made().resized(SMOKE_WIDTH if smoke else 288)
    full, crop = _compared(_renderers(), photo, 0.7, 0.07, (0.24, 0.0, 0.64, 0.32))
    note = f"Focus on the woman (0.7). {photo.source}{_left_out()}"
    return Strip("Lens blur from one photo and a disparity", note, [("", full), ("crop", crop)])


def _qualitative(smoke: bool) -> Strip:
    width = SMOKE_WIDTH if smoke else 200
    shots = {
        "motorcycle": (motorcycle(), 0.97, 0.09, (0.6, 0.1, 0.95, 0.5)),
        "astronaut_made": (astronaut_made(), 0.15, 0.05, (0.5, 0.5, 0.95, 0.9)),
        "evening_glow_made": (evening_glow_made(), 0.55, 0.06, (0.0, 0.4, 0.35, 0.75)),
    }
    renderers, rows = _renderers(), []
    for name, (photo, focus, opening, box) in shots.items():
        full, crop = _compared(renderers, photo.resized(width), focus, opening, box)
        rows += [(name, full), ("crop", crop)]
    return Strip("Three photographs, rendered and looked at closely", _sources(shots), rows)


def _focal_stack(smoke: bool) -> Strip:
    width = SMOKE_WIDTH if smoke else 172
    shots = {"motorcycle": (motorcycle(), 0.42), "astronaut_made": (astronaut_made(), 0.15)}
    renderers, rows = _renderers(SWEPT), []
    for title, (photo, farthest) in shots.items():
        small = photo.resized(width)
        focuses = np.linspace(small.disparity.max() - 0.02, farthest, 5)
        for name, renderer in renderers.items():
            cells = [(f"focus {f:.2f}", _render(renderer, small, f, 0.09)) for f in focuses]
            cells[0] = (f"{title} {focuses[0]:.2f}", cells[0][1])
            rows.append((study.METHODS[name].label, cells))
    return Strip("A focal stack, from near to far", _sources(shots), rows)


def _aperture_sweep(smoke: bool) -> Strip:
    width = SMOKE_WIDTH if smoke else 164
    shots = {"motorcycle": (motorcycle(), 0.98), "astronaut_made": (astronaut_made(), 0.7)}
    renderers, rows = _renderers(SWEPT), []
    for title, (photo, focus) in shots.items():
        small = photo.resized(width)
        for name, renderer in renderers.items():
            cells = [(title, small.image)]
            for times in (1, 2, 3):
                picture = _render(renderer, small, focus, 0.03 * times)
                cells.append((f"{times}x blur", picture))
            rows.append((study.METHODS[name].label, cells))
    return Strip("The same photo with a growing aperture", _sources(shots), rows)


# --- Synthetic scenes ------------------------------------------------------------------------


def _samples(smoke: bool) -> Strip:
    from bokehlib.data.datasets import load_dataset

    samples = load_dataset("synbokeh-mini", smoke=smoke)
    chosen = [samples[i] for i in range(min(2, len(samples) - 1), len(samples), 16)]
    rows = {"all in focus": "image", "disparity": "disparity", "truth": "target"}
    cells = {
        label: [("", _small(getattr(sample, part), 176)) for sample in chosen]
        for label, part in rows.items()
    }
    note = "Every fourth scene of SYNBOKEH-mini, the third of its four blur levels."
    return Strip("Samples of the embedded benchmark", note, list(cells.items()))


def _small(tensor, width: int) -> np.ndarray:
    """A tensor (1, C, H, W) as a picture at most so wide: (H, W, 3), or (H, W) if it is grey."""
    picture = tensor[0].permute(1, 2, 0).squeeze(-1).clamp(0, 1).numpy()
    levels = Image.fromarray(np.round(picture * 255).astype(np.uint8))
    size = min(width, levels.width), round(min(width, levels.width) * levels.height / levels.width)
    return np.asarray(levels.resize(size, Image.Resampling.LANCZOS), dtype=np.float32) / 255


def _synthesis(smoke: bool) -> Strip:
    import torch

    from bokehlib.data import synbokeh
    from bokehlib.optics import Lens
    from bokehlib.synthesis import lens_points
    from bokehlib.synthesis.planes import to_display

    width = SMOKE_WIDTH if smoke else 208
    scene = synbokeh.scene_from(data.manifest()["scenes"][SCENE]["scene"])
    layers = synbokeh.synthesiser().layers([scene])
    shown = [("disparity", layers.disparity()), ("all in focus", to_display(layers.sharp()))]
    rows = [("", [(title, _small(tensor, width)) for title, tensor in shown])]
    points = lens_points(8 if smoke else 320, torch.tensor([scene.rotation]))
    focuses = [layers.focus_on(torch.tensor([layer])) for layer in (0, len(scene.planes) - 1)]
    widest = max(layers.largest_blur(focus).item() for focus in focuses)
    for focus, label in zip(focuses, ("focus: background", "focus: foreground"), strict=True):
        cells = []
        for times in (1, 2, 3, 4):
            lens = Lens(focus, times / 4 * max(synbokeh.RADII) / widest)
            truth = to_display(layers.render(lens, points))
            cells.append((f"aperture {lens.aperture:.0f} px", _small(truth, width)))
        rows.append((label, cells))
    note = (
        f"Scene {SCENE} of SYNBOKEH-mini: tilted planes, rendered in linear light through an exact "
        "thin lens. Apertures are px of blur radius per unit of disparity, at 384 px."
    )
    return Strip("One synthetic scene through several lenses", note, rows)


def _shallow_inputs(smoke: bool) -> Strip:
    """Photos that are not all in focus: the truth at a third of the aperture as input."""
    import torch

    from bokehlib.data import synbokeh
    from bokehlib.evaluation.metrics import Measure
    from bokehlib.optics import Lens
    from bokehlib.synthesis import lens_points
    from bokehlib.synthesis.planes import to_display

    width = SMOKE_WIDTH if smoke else 160
    measure, renderers, rows = Measure(networks=False), _renderers(), []
    for number in SHALLOW_SCENES[: 1 if smoke else None]:
        entry = data.manifest()["scenes"][number]
        scene, lens = synbokeh.scene_from(entry["scene"]), entry["lens"][SHALLOW_LENS]
        layers = synbokeh.synthesiser().layers([scene])
        points = lens_points(8 if smoke else 160, torch.tensor([scene.rotation]))
        full = Lens(lens["focus_disparity"], lens["aperture"])
        disparity, truth = layers.disparity(), to_display(layers.render(full, points))
        inputs = {
            "all in focus": to_display(layers.sharp()),
            "a third": to_display(layers.render(Lens(full.focus, full.aperture / 3), points)),
        }
        for label, image in inputs.items():
            shown = {"input": image}
            with torch.inference_mode():
                for name, renderer in renderers.items():
                    shown[study.METHODS[name].label] = renderer(image, disparity, full)
            cells = [
                (f"{title} {measure(picture, truth)['psnr']:.1f}", _small(picture, width))
                for title, picture in shown.items()
            ]
            rows.append((label, [*cells, ("truth", _small(truth, width))]))
    note = (
        "Scenes of SYNBOKEH-mini. Rows “a third” start from the truth at a third of the asked "
        "aperture instead of the photo that is sharp everywhere; disparity and lens are the same. "
        f"Numbers are PSNR in dB against the truth.{_left_out()}"
    )
    return Strip("Inputs that are blurred already", note, rows)


def _ablation(smoke: bool) -> Strip:
    import torch

    from bokehlib.data.datasets import load_dataset
    from bokehlib.evaluation.metrics import Measure

    side, measure, rows = SMOKE_WIDTH if smoke else 384, Measure(networks=False), []
    samples = [s for s in load_dataset("synbokeh-mini", smoke=smoke) if s.blur == SHALLOW_LENS]
    renderers = {recipe: methods.load(name) for recipe, name in ABLATED.items()}
    for sample in samples[:1] if smoke else [samples[n] for n in ABLATED_SCENES]:
        image, disparity, truth = (
            part[..., :side] for part in (sample.image, sample.disparity, sample.target)
        )
        cells = [("all in focus", _small(image, 192))]
        for recipe, renderer in renderers.items():
            with torch.inference_mode():
                picture = renderer(image, disparity, sample.lens)
            title = f"{study.ABLATION_LABELS[recipe]} {measure(picture, truth)['psnr']:.1f}"
            cells.append((title, _small(picture, 192)))
        rows.append((sample.name, [*cells, ("truth", _small(truth, 192))]))
    note = (
        "Scenes of SYNBOKEH-mini, rendered by trainings of Table 2 (LoRA, the first seed). Numbers "
        "are PSNR in dB against the truth."
    )
    return Strip("What PISA's parts change in the picture", note, rows)


# --- All of them -----------------------------------------------------------------------------

STRIPS: dict[str, Callable[[bool], Strip]] = {
    "fig1_teaser": _teaser,
    "fig5_qualitative": _qualitative,
    "fig6_focal_stack": _focal_stack,
    "figS2_samples": _samples,
    "figS3_synthesis": _synthesis,
    "figS4_aperture_sweep": _aperture_sweep,
    "figS9_ablation": _ablation,
    "shallow_inputs": _shallow_inputs,
}
LACKING = {
    "figS1_misalignment": "needs EBB! Val294, which is not part of this version",
}
OF_SCENES = ("figS2_samples", "figS3_synthesis", "figS9_ablation")  # not of photographs


def methods_of(figure: str) -> list[str]:
    """Names of the methods that render its pictures."""
    if figure == "figS9_ablation":
        return [*ABLATED.values()]
    return [] if figure in OF_SCENES else shown_methods()
