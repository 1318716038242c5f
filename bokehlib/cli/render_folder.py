"""The command `render` on a folder: the same options for every photo in it."""

import argparse
from pathlib import Path

from bokehlib.io import photos as photofiles
from bokehlib.io.errors import InputError

PHOTOS = (*photofiles.SUFFIXES, ".heic", ".heif")
ENDINGS = ("_d", "_depth", "_disp", "_disparity")  # of a map's name beside its photo's


def of_folder(arguments: argparse.Namespace) -> list[argparse.Namespace]:
    """The arguments of every photo in the folder IMAGE, sorted by name.

    Pictures go to the folder --out under the photos' names, as PNG, those of OpenEXR as such. Of
    --disparity the file of a photo's name is taken, else one with one of `ENDINGS`; where maps and
    photos share a folder, such a file is no photo.

    Raises:
        InputError: No photos, names that clash, maps that are missing, options for one photo.
    """
    folder, out = Path(arguments.image), Path(arguments.out)
    alone = {
        "--focus-stack": arguments.focus_stack,
        "--aperture-sweep": arguments.aperture_sweep,
        "--save-disparity": arguments.save_disparity,
    }
    if given := [option for option, value in alone.items() if value]:
        raise InputError(f"{given[0]}: found with the folder {folder}; accepted: with one photo")
    photos = sorted(p for p in folder.iterdir() if p.suffix.lower() in PHOTOS and p.is_file())
    given_maps = Path(arguments.disparity) if arguments.disparity else folder
    if given_maps.exists() and folder.samefile(given_maps):  # maps may lie beside their photos
        stems = {photo.stem.lower() for photo in photos}
        maps_of = {stem + ending for stem in stems for ending in ENDINGS}
        photos = [photo for photo in photos if photo.stem.lower() not in maps_of]
    if not photos:
        raise InputError(f"IMAGE: found no photo in {folder}; accepted: {', '.join(PHOTOS)}")
    if out.is_file() or (out.exists() and out.samefile(folder)):
        found = "a file" if out.is_file() else "the folder of the photos"
        raise InputError(f"--out: found {out}, {found}; accepted: another folder")
    by_stem = {photo.stem: photo for photo in photos}
    if clash := [photo for photo in photos if by_stem[photo.stem] != photo]:
        names = f"{clash[0].name} and {by_stem[clash[0].stem].name}"
        raise InputError(f"IMAGE: found {names} in {folder}; accepted: a name once")
    maps: list[str | None] = [None] * len(photos)
    if arguments.disparity:
        maps = [_map_in(Path(arguments.disparity), photo) for photo in photos]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"--out: {out}: found {reason}; accepted: a writable folder") from error
    own = []
    for photo, one_map in zip(photos, maps, strict=True):
        suffix = ".exr" if photo.suffix.lower() == ".exr" else ".png"
        instead = {
            "image": str(photo),
            "disparity": one_map,
            "out": str(out / f"{photo.stem}{suffix}"),
        }
        own.append(argparse.Namespace(**vars(arguments) | instead))
    return own


def _map_in(folder: Path, photo: Path) -> str:
    """The map of a photo: the one other file of its name, or the photo's own file."""
    stems = [photo.stem.lower() + ending for ending in ("", *ENDINGS)]
    files = folder.iterdir() if folder.is_dir() else ()
    named = [f for f in sorted(files) if f.stem.lower() in stems and f.is_file()]
    others = [file for file in named if not file.samefile(photo)] or named
    found = [file for file in others if file.stem == photo.stem] or others
    if len(found) != 1:
        said = f"{len(found)} files" if folder.is_dir() else "no folder"
        raise InputError(
            f"--disparity: found {said} for {photo.name} in {folder}; accepted: a folder with one "
            "map of each photo's name"
        )
    return str(found[0])
