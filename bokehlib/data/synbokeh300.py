"""SYNBOKEH300 rebuilt: 300 seeded scenes at four blurs, of a user's photographs and cut-outs.

The authors' set was never released. This one is made by our synthesis; its manifest holds the
hashes of what went in, every scene in plain numbers and the fingerprints of what came out, and
grows scene by scene, so that a build that was stopped goes on where it was.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from bokehlib.data import file_hash, synbokeh
from bokehlib.data.fingerprints import fingerprint, photo_hash
from bokehlib.data.published_sets.rebuilt import MANIFEST, read_manifest
from bokehlib.io.errors import InputError
from bokehlib.io.images import replacing
from bokehlib.synthesis.mattes import EVAL_FAMILIES, EXTENSIONS, Cutouts, draw_cutouts, read_cutout
from bokehlib.synthesis.scenes import Scene, Synthesiser

NAME = "synbokeh300"
PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
LONGEST = 2048  # px, the long side to which larger photographs are brought
UNSUITABLE = 200  # scenes in a row, after which the foregrounds are at fault


@dataclass(frozen=True)
class Plan:
    """What decides the set beside its photographs and foregrounds.

    Attributes:
        scenes: how many.
        size: (H, W) of the pictures in px.
        radii: px, the largest blur of each lens.
        most: photographs, and foregrounds, that take part; of more the seed chooses.
        seed: of the choice and of the scenes.
    """

    scenes: int = 300
    size: tuple[int, int] = (512, 512)
    radii: tuple[float, ...] = (4.0, 8.0, 16.0, 32.0)
    most: int = 300
    seed: int = 300


SMOKE = Plan(scenes=2, size=(96, 128), radii=(2.0, 3.0, 4.0, 6.0))


def build(
    root: str | Path,
    photos: str | Path,
    foregrounds: str | Path,
    plan: Plan | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Build the set into root, or what is missing of it.

    Args:
        root: folder of the set.
        photos: folder of photographs, and all below it; those with transparency do not count.
        foregrounds: folder of RGBA files, and all below it.
        plan: by default that of the whole set.
        device: where all pixel work happens.

    Returns:
        The manifest.

    Raises:
        InputError: no such folder, nothing in it, a file that is broken, or a set in root that
            was made from something else.
    """
    plan, root = plan or Plan(), Path(root)
    pictures = _photographs(Path(photos), plan)
    cutouts = _cutouts(Path(foregrounds), plan)
    manifest = _begun(root, plan, pictures, cutouts, Path(photos), Path(foregrounds))
    bank = Cutouts(torch.stack([*cutouts.values()]), torch.ones(len(cutouts), dtype=torch.bool))
    images = [torch.from_numpy(pixels).permute(2, 0, 1) for pixels, _ in pictures.values()]
    margin = math.ceil(max(plan.radii))
    maker = Synthesiser(images, [bank], plan.size, margin, device, max_radius=max(plan.radii))
    for entry in manifest["scenes"]:
        if not synbokeh.stands(root, entry):
            scene = synbokeh.scene_from(entry["scene"])
            _write(root, maker, scene, entry["name"], entry["lens"], plan)
    _draw(root, maker, manifest, plan)
    return manifest


@torch.no_grad()
def _draw(root: Path, maker: Synthesiser, manifest: dict[str, Any], plan: Plan) -> None:
    """Draw the scenes that are missing; the first n that suits is taken."""
    scenes = manifest["scenes"]
    n = scenes[-1]["n"] + 1 if scenes else 0
    bar = tqdm(total=plan.scenes, initial=len(scenes), desc=f"building {NAME}", unit="scene")
    while len(scenes) < plan.scenes:
        scene, number = maker.draw(plan.seed, n), len(scenes)
        layers = maker.layers([scene])
        if synbokeh.suits(layers):
            name = f"scene_{number:03d}"
            lenses = [
                synbokeh.lens_of(layers, scene, number, blur, plan.radii)
                for blur in range(len(plan.radii))
            ]
            images = _write(root, maker, scene, name, lenses, plan)
            entry = {"name": name, "n": n, "scene": asdict(scene), "lens": lenses, "images": images}
            scenes.append(entry)
            _save(root, manifest)
            bar.update()
        elif n - (scenes[-1]["n"] if scenes else -1) > UNSUITABLE:
            raise InputError(
                f"--foregrounds: found none that covers a picture as it should in {UNSUITABLE} "
                "scenes; accepted: cut-outs with opaque parts"
            )
        n += 1
    bar.close()


@torch.no_grad()
def _write(
    root: Path, maker: Synthesiser, scene: Scene, name: str, lenses: list[dict], plan: Plan
) -> dict[str, dict]:
    """Render a scene into its folder; the fingerprints of its files."""
    files = synbokeh.render(maker.layers([scene]), lenses, scene.rotation, plan.radii)
    synbokeh.save(root / name, files, lenses)
    return {file: fingerprint(pixels) for file, pixels in files.items()}


def _begun(
    root: Path,
    plan: Plan,
    pictures: dict[Path, tuple[np.ndarray, str]],
    cutouts: dict[Path, torch.Tensor],
    photos: Path,
    foregrounds: Path,
) -> dict[str, Any]:
    """The manifest that stands in root, else a new one without scenes.

    Raises:
        InputError: the one that stands was made from something else.
    """
    head = {
        "name": NAME,
        "plan": {key: value for key, value in asdict(plan).items() if key != "scenes"},
        "photos": [
            {
                "name": file.relative_to(photos).as_posix(),
                "sha256": file_hash(file),
                "pixels": pixels,
            }
            for file, (_, pixels) in pictures.items()
        ],
        "foregrounds": [
            {"name": file.relative_to(foregrounds).as_posix(), "sha256": file_hash(file)}
            for file in cutouts
        ],
    }
    head = json.loads(json.dumps(head))
    if not (root / MANIFEST).exists():
        return head | {"scenes": []}
    found = read_manifest(root)
    for key, value in head.items():
        if found.get(key) != value:
            raise InputError(
                f'{root / MANIFEST}: key "{key}": found another than now; accepted: the same '
                "photographs, foregrounds and settings, or another folder"
            )
    return found


def _save(root: Path, manifest: dict[str, Any]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with replacing(root / MANIFEST) as temporary:
        temporary.write_text(synbokeh.compact(manifest), encoding="utf-8", newline="\n")


def _photographs(folder: Path, plan: Plan) -> dict[Path, tuple[np.ndarray, str]]:
    """File -> (H, W, 3) uint8, at most `LONGEST` long, and the hash of all its pixels."""

    def read(file: Path) -> tuple[np.ndarray, str] | None:
        with Image.open(file) as picture:
            if picture.has_transparency_data:
                return None
            whole = picture.convert("RGB")
        pixels = photo_hash(np.array(whole))
        whole.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        return np.array(whole), pixels

    return _chosen("--photos", folder, PHOTOS, read, plan)


def _cutouts(folder: Path, plan: Plan) -> dict[Path, torch.Tensor]:
    """File -> (4, S, S) uint8, S the short side of a picture."""

    def read(file: Path) -> torch.Tensor | None:
        return read_cutout(file, min(plan.size))

    return _chosen("--foregrounds", folder, EXTENSIONS, read, plan)


def _chosen(argument: str, folder: Path, suffixes: tuple[str, ...], read, plan: Plan) -> dict:
    """Files in the order of their names, those aside that `read` answers with None."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise InputError(f"{argument}: found {found} {folder}; accepted: a folder")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes)
    if len(files) > plan.most:
        places = np.random.default_rng(plan.seed).choice(len(files), plan.most, replace=False)
        files = [files[place] for place in sorted(places)]
    chosen = {}
    for file in tqdm(files, desc=f"reading {argument.lstrip('-')}", unit="file"):
        try:
            picture = read(file)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{argument}: {file}: found a broken file ({error})") from error
        if picture is not None:
            chosen[file] = picture
    if not chosen:
        kind = "RGBA files" if argument == "--foregrounds" else "opaque photographs"
        raise InputError(
            f"{argument}: found none in {folder}; accepted: {kind}, {', '.join(suffixes)}"
        )
    return chosen


def write_drawn_foregrounds(folder: str | Path, side: int = 96) -> Path:
    """One white cut-out of each family of evaluation as RGBA files: to try a build without any."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rgba in zip(EVAL_FAMILIES, draw_cutouts(EVAL_FAMILIES, 1, 0).rgba, strict=True):
        picture = Image.fromarray(rgba.permute(1, 2, 0).numpy()).resize((side, side))
        picture.save(folder / f"{name}.png")
    return folder
