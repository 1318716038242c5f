"""Depth maps that phones put into their photos: HEIC, and JPEG with Google's metadata. No torch.

HEIC holds the map as an auxiliary image, whose metadata say what its values are: inverse depth,
disparity or depth. A JPEG names it in its XMP, either with the data (GDepth) or as one of the files
that follow the photo (dynamic depth): 0 is `Near`, full scale is `Far`, and in between runs
the depth (RangeLinear) or its inverse (RangeInverse).
"""

import base64
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageOps

from bokehlib.io.errors import InputError

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_ORIENTATION = 0x0112  # in EXIF
_ON_ITS_SIDE = (5, 6, 7, 8)
_JPEG = b"\xff\xd8"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_HEAD = len(_EXTENDED) + 32 + 4 + 4  # GUID, length of the whole, offset of this part


@dataclass(frozen=True)
class Embedded:
    """A map as it was found.

    Attributes:
        values: (h, w) float.
        kind: "inverse" (1/depth but for a factor), "depth", or "relative" (larger = nearer).
        metres: whether values of an inverse or a depth are in 1/m or m.
        source: what it was read from.
    """

    values: np.ndarray
    kind: str
    metres: bool
    source: str


def is_heif(path: str | Path) -> bool:
    """Whether a file begins as HEIC does, whatever its name; False if it cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS


def open_heif(path: str | Path, argument: str) -> None:
    """Let Pillow open HEIC files.

    Raises:
        InputError: The package that reads them is missing.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(
            f"{argument}: {path}: found HEIC and no reader of it; accepted: the package "
            "pillow-heif, which comes with bokehlib[study]"
        ) from error
    pillow_heif.register_heif_opener()


def embedded(path: str | Path, argument: str) -> Embedded | None:
    """The depth map within a phone's photo.

    Args:
        path: A HEIC or JPEG file.
        argument: What an error calls it.

    Returns:
        None if the file is neither, or is a JPEG without one.

    Raises:
        InputError: A HEIC without a depth map, or a map that is broken.
    """
    path = Path(path)
    try:
        if is_heif(path):
            return _of_heif(path, argument)
        blob = path.read_bytes()
        return _of_jpeg(blob) if blob.startswith(_JPEG) else None
    except (OSError, SyntaxError, ValueError, EOFError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        found = f"a broken depth map in the photo ({error})"
        raise InputError(f"{argument}: {path}: found {found}; accepted: a whole file") from error


# --- HEIC ------------------------------------------------------------------------------------


def _of_heif(path: Path, argument: str) -> Embedded:
    open_heif(path, argument)
    with Image.open(path) as photo:
        maps = photo.info.get("depth_images") or []
        turn, lying = photo.info.get("original_orientation") or 1, photo.width > photo.height
    if not maps:
        raise InputError(
            f"{argument}: {path}: found a HEIC photo without a depth map; accepted: one taken in "
            "portrait mode, another file with the map, or --estimate-disparity"
        )
    picture = maps[0].to_pillow()
    if turn in _ON_ITS_SIDE and (picture.width > picture.height) != lying:
        picture.getexif()[_ORIENTATION] = turn  # the photo was turned on reading, its map was not
        picture = ImageOps.exif_transpose(picture)
    levels = np.asarray(picture)
    levels = levels[..., 0] if levels.ndim == 3 else levels
    scale = np.iinfo(levels.dtype).max if levels.dtype.kind == "u" else 1
    return _by_metadata(levels.astype(np.float64) / scale, maps[0].info.get("metadata") or {})


def _by_metadata(level: np.ndarray, metadata: dict) -> Embedded:
    """Levels in [0, 1] by what H.265 calls the depth representation; Apple's is a disparity."""
    kind = metadata.get("representation_type", 1)
    source = "the depth map of the HEIC photo"
    near, far = metadata.get("z_near") or 0.0, metadata.get("z_far") or 0.0
    low, high = metadata.get("d_min"), metadata.get("d_max")
    if kind in (0, 2) and 0 < near < far:
        if kind == 2:
            return Embedded(near + level * (far - near), "depth", False, source)
        return Embedded(1 / far + level * (1 / near - 1 / far), "inverse", False, source)
    if kind == 1 and low is not None and high is not None and 0 <= low < high:
        return Embedded(low + level * (high - low), "inverse", False, source)
    if kind == 2:
        level = 1 - level
        source += ", a depth without its range: only its order is right"
    if kind == 3:
        source += ", unevenly quantised: only its order is right"
    return Embedded(level, "relative", False, source)


# --- JPEG ------------------------------------------------------------------------------------


def _of_jpeg(blob: bytes) -> Embedded | None:
    fields, files = _described(blob)
    form = fields.get("Format", "")
    if form not in ("RangeInverse", "RangeLinear"):
        return None
    if "Data" in fields:
        picture = base64.b64decode("".join(fields["Data"].split()))
    else:
        picture = _following(blob, files, fields.get("DepthURI", ""))
    level = _levels(picture, like=blob)
    near, far = float(fields.get("Near", "nan")), float(fields.get("Far", "nan"))
    if not 0 < near < far < math.inf:
        raise ValueError(f"Near {near:g} and Far {far:g}, which are no range")
    metres = fields.get("Units", "").lower() in ("m", "meters", "metres")
    source = f"the depth map in the photo's metadata ({form})"
    if form == "RangeLinear":
        return Embedded(near + level * (far - near), "depth", metres, source)
    return Embedded(1 / near - level * (1 / near - 1 / far), "inverse", metres, source)


def _levels(picture: bytes, like: bytes) -> np.ndarray:
    """Levels of a map in [0, 1], turned as the photo is: it is stored as the photo is stored."""
    with Image.open(io.BytesIO(like)) as photo, Image.open(io.BytesIO(picture)) as stored:
        stored.load()
        own = stored.getexif()
        own.setdefault(_ORIENTATION, photo.getexif().get(_ORIENTATION, 1))
        upright = ImageOps.exif_transpose(stored)
    levels = np.asarray(upright if upright.mode.startswith("I;16") else upright.convert("L"))
    return levels.astype(np.float64) / np.iinfo(levels.dtype).max


def _segments(blob: bytes) -> Iterator[bytes]:
    """The APP1 segments of a JPEG."""
    place = 2
    while place + 4 <= len(blob) and blob[place] == 0xFF and blob[place + 1] not in (0xDA, 0xD9):
        length = int.from_bytes(blob[place + 2 : place + 4], "big")
        if blob[place + 1] == 0xE1:
            yield blob[place + 4 : place + 2 + length]
        place += 2 + length


def _described(blob: bytes) -> tuple[dict[str, str], list[dict[str, str]]]:
    """What the XMP says of the depth map, and the files that follow the photo, by local names."""
    segments = list(_segments(blob))
    packets = [part[len(_XMP) :] for part in segments if part.startswith(_XMP)]
    packets.append(b"".join(part[_HEAD:] for part in segments if part.startswith(_EXTENDED)))
    fields: dict[str, str] = {}
    files: list[dict[str, str]] = []
    for packet in packets:
        text = re.sub(rb"<\?xpacket.*?\?>", b"", packet).strip(b"\0 \r\n")
        for element in ElementTree.fromstring(text).iter() if text else ():
            children = [(child.tag, child.text or "") for child in element if not len(child)]
            found = [(name, value.strip()) for name, value in (*element.attrib.items(), *children)]
            fields |= {_local(name): value for name, value in found if "depthmap" in name.lower()}
            named = {_local(name): value for name, value in found}
            if "Mime" in named and ("Length" in named or "Semantic" in named):
                files.append(named)
    return fields, files


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _following(blob: bytes, files: list[dict[str, str]], wanted: str) -> bytes:
    """The file with the depth map; those behind the photo end with the last of the directory.

    Raises:
        ValueError: None is named, or the photo ends before it.
    """
    end = len(blob)
    for file in reversed(files):
        length = int(file.get("Length") or 0)
        start = end - length - int(file.get("Padding") or 0)
        by_name = bool(wanted) and file.get("DataURI") == wanted
        if length and (by_name or file.get("Semantic") in ("Depth", "DepthMap")):
            if start < 0:
                raise ValueError("the file ends before it")
            return blob[start : start + length]
        end = start
    raise ValueError("no file of that name behind the photo")
