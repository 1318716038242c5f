"""`synbokeh-mini`: the embedded benchmark, built from its manifest and frozen before any training.

Photographs that come with scikit-image, scikit-learn and bokehlib, behind cut-outs of the families
of evaluation; a third of the scenes has lamps. Each scene is seen through four lenses whose
largest blur is 4, 8, 15 and 26 px, focused on background and foreground in turn.
"""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from bokehlib.data import LENSES, MANIFEST, file_hash, photo_paths
from bokehlib.data.fingerprints import fingerprint, photo_hash
from bokehlib.io.errors import InputError
from bokehlib.io.images import write_disparity, write_image
from bokehlib.optics import Lens
from bokehlib.synthesis.mattes import EVAL_FAMILIES, draw_cutouts
from bokehlib.synthesis.photos import Crop, upload
from bokehlib.synthesis.planes import Layers, lens_points, lens_points_needed, to_display
from bokehlib.synthesis.scenes import Foreground, Scene, Synthesiser

NAME = "synbokeh-mini"
SIZE = (256, 384)  # px
MARGIN = 32  # px
RADII = (4.0, 8.0, 15.0, 26.0)  # px, largest blur of each lens
SCENES = 24
SEED = 20
EACH = 12  # cut-outs of each family
FOREGROUND_SHARE = (0.08, 0.6)  # of a scene's pixels


def read_photo(path: Path) -> np.ndarray:
    """A photograph as (H, W, 3) uint8."""
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))


def synthesiser(device: torch.device | str = "cpu") -> Synthesiser:
    """The one that draws and renders this benchmark."""
    photos = [
        torch.from_numpy(read_photo(path)).permute(2, 0, 1) for path in photo_paths().values()
    ]
    cutouts = [draw_cutouts(EVAL_FAMILIES, EACH, SEED)]
    return Synthesiser(photos, cutouts, SIZE, MARGIN, device, max_radius=max(RADII))


def scene_from(numbers: dict) -> Scene:
    """A scene as it stands in the manifest."""
    foregrounds = tuple(
        Foreground(**{**f, "texture": Crop(**f["texture"]), "tint": tuple(f["tint"])})
        for f in numbers["foregrounds"]
    )
    return Scene(
        **{
            **numbers,
            "background": Crop(**numbers["background"]),
            "foregrounds": foregrounds,
            "planes": tuple(map(tuple, numbers["planes"])),
            "lamps": tuple(map(tuple, numbers["lamps"])),
        }
    )


def render(
    layers: Layers, lenses: Iterable[dict], rotation: float, radii: Sequence[float] = RADII
) -> dict[str, np.ndarray]:
    """The files of a scene: image.png, disparity.png and a target for each lens."""

    def levels(image: torch.Tensor) -> np.ndarray:
        return (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()

    disparity = (layers.disparity()[0, 0] * 65535).round().cpu().numpy().astype(np.uint16)
    files = {"image.png": levels(to_display(layers.sharp())), "disparity.png": disparity}
    turned = torch.tensor([rotation], device=layers.textures.device)
    for radius, lens in zip(radii, lenses, strict=True):
        points = lens_points(lens_points_needed(radius), turned)
        light = layers.render(Lens(lens["focus_disparity"], lens["aperture"]), points)
        files[lens["target"]] = levels(to_display(light))
    return files


def build(manifest: dict, root: Path, names: Iterable[str]) -> None:
    """Build the named scenes into root/<name>; those that stand are left alone.

    A scene's folder appears only when it is complete, so a build that was stopped goes on where
    it was.

    Raises:
        InputError: if an installed photograph is not the one that the manifest was made from.
    """
    missing = [s for s in manifest["scenes"] if s["name"] in names and not stands(root, s)]
    if not missing:
        return
    _check_photos(manifest)
    maker = synthesiser()
    for entry in tqdm(missing, desc=f"building {NAME}", unit="scene"):
        scene = scene_from(entry["scene"])
        with torch.no_grad():
            files = render(maker.layers([scene]), entry["lens"], scene.rotation)
        save(root / entry["name"], files, entry["lens"])


def save(folder: Path, files: dict[str, np.ndarray], lenses: list[dict]) -> None:
    """Write a scene in the `folder:` layout, all at once."""
    temporary = folder.with_name(f".{os.getpid()}-{folder.name}")
    temporary.mkdir(parents=True, exist_ok=True)
    for name, pixels in files.items():
        if pixels.dtype == np.uint16:
            write_disparity(temporary / name, pixels / np.float64(65535))
        else:
            write_image(temporary / name, pixels / np.float64(255))
    (temporary / LENSES).write_text(json.dumps({"lens": lenses}, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def stands(root: Path, entry: dict) -> bool:
    """Whether the folder of a manifest's scene is complete."""
    folder = root / entry["name"]
    if not all((folder / name).is_file() for name in entry["images"]):
        return False
    return json.loads((folder / LENSES).read_text()) == {"lens": entry["lens"]}


def _check_photos(manifest: dict) -> None:
    paths = photo_paths()
    for photo in manifest["photos"]:
        found = file_hash(paths[photo["name"]]) if photo["name"] in paths else "no such photograph"
        if found != photo["sha256"]:
            raise InputError(
                f"{NAME}: photograph {photo['name']}: found {found[:12]}; accepted: the file with "
                f"SHA-256 {photo['sha256'][:12]}... of the pinned package versions"
            )


# --- Freezing -----------------------------------------------------------------------------------


def freeze(root: Path, path: Path = MANIFEST) -> dict:
    """Draw the benchmark anew, build it into root, and write its manifest."""
    maker = synthesiser()
    scenes, histogram, clipped = [], np.zeros(int(max(RADII)) + 1, dtype=int), 0
    for number, n in enumerate(tqdm(choose(maker), desc=f"freezing {NAME}", unit="scene")):
        name, scene = f"scene_{number:02d}", maker.draw(SEED, n)
        with torch.no_grad():
            layers = maker.layers([scene])
            lenses = [lens_of(layers, scene, number, blur) for blur in range(len(RADII))]
            files = render(layers, lenses, scene.rotation)
        save(root / name, files, lenses)
        clipped += bool(layers.sharp().max() > 1)
        for lens in lenses:
            off = np.abs(files["disparity.png"] / 65535 - lens["focus_disparity"])
            radius = np.minimum(np.rint(lens["aperture"] * off).astype(int), len(histogram) - 1)
            histogram += np.bincount(radius.ravel(), minlength=len(histogram))
        images = {file: fingerprint(pixels) for file, pixels in files.items()}
        drawn = asdict(scene)
        scenes.append({"name": name, "n": n, "scene": drawn, "lens": lenses, "images": images})
    photos = [
        {"name": name, "sha256": file_hash(file), "pixels": photo_hash(read_photo(file))}
        for name, file in photo_paths().items()
    ]
    manifest = {
        "name": NAME,
        "seed": SEED,
        "size": SIZE,
        "families": EVAL_FAMILIES,
        "photos": photos,
        "clipped_lamps": round(clipped / SCENES, 4),
        "blur_histogram": histogram.tolist(),
        "scenes": scenes,
    }
    path.write_text(compact(manifest), encoding="utf-8", newline="\n")
    return manifest


def choose(maker: Synthesiser) -> list[int]:
    """Numbers of the scenes, so that photographs, families and lamps each get their share.

    The first n that fits is taken: every third scene has lamps, the families of the first
    foreground take turns, no photograph is the background more than twice, and the foreground
    covers neither too little nor too much.
    """
    chosen: list[int] = []
    backgrounds: list[int] = []
    n = -1
    while len(chosen) < SCENES:
        n += 1
        scene, place = maker.draw(SEED, n), len(chosen)
        if bool(scene.lamps) != (place % 3 == 0) or backgrounds.count(scene.background.photo) > 1:
            continue
        if scene.foregrounds[0].cutout % len(EVAL_FAMILIES) != place % len(EVAL_FAMILIES):
            continue
        if suits(maker.layers([scene])):
            chosen.append(n)
            backgrounds.append(scene.background.photo)
    return chosen


def suits(layers: Layers) -> bool:
    """Whether a scene's foregrounds cover neither too little nor too much."""
    seen = layers.visible().mean((0, 2, 3))[1:]
    low, high = FOREGROUND_SHARE
    return bool(low < seen.sum() < high and seen.min() > low / 4)


def lens_of(
    layers: Layers, scene: Scene, number: int, blur: int, radii: Sequence[float] = RADII
) -> dict:
    """Lens `blur` of a scene: the parity of scene and lens decides what it is focused on."""
    front = 1 + (number // 2) % len(scene.foregrounds)
    chosen = front if (number + blur) % 2 else 0
    focus = layers.focus_on(upload([chosen], layers.textures.device).long())
    aperture = radii[blur] / layers.largest_blur(focus)
    return {
        "target": f"bokeh_{blur}.png",
        "focus_disparity": round(focus.item(), 6),
        "aperture": round(aperture.item(), 4),
    }


def compact(manifest: dict) -> str:
    """JSON with a line for every scene and photograph, so that a diff shows what changed."""
    lines = []
    for key, value in manifest.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in value)
            lines.append(f"{json.dumps(key)}:[\n{rows}\n]")
        else:
            lines.append(f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'))}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
