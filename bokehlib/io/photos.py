"""Photos with what is worth keeping: all their bits, light above white, colour profile, camera.

A photo may have 8 bits a channel, 16 (PNG, TIFF) or 32 (OpenEXR); a rendered one is written with
as many, as far as its format can. Everything is sRGB-encoded but OpenEXR, which holds linear light:
image = light ** (1 / 2.2), the very inverse of what every renderer does, so that blur happens in
the file's own light. No torch.
"""

import io
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from bokehlib.io import exr, images
from bokehlib.io.errors import InputError
from bokehlib.io.map_repair import upright
from bokehlib.io.photographic import Camera

GAMMA = 2.2  # linear light is image ** GAMMA
ACCEPTED = "an opaque PNG, JPEG, WebP, TIFF, HEIC or OpenEXR picture"
SUFFIXES = (*images.FORMATS, ".exr")
DEEP = (".png", ".tif", ".tiff")  # can hold 16 bits a channel
_ORIENTATION = 0x0112
_EXIF_IFD = 0x8769
_CAMERA = {"focal_length": 0x920A, "f_number": 0x829D, "focal_length_35mm": 0xA405}


@dataclass(frozen=True)
class Photograph:
    """A photo as displayed.

    Attributes:
        image: (H, W, 3) float32, sRGB-encoded, in [0, 1]; above 1 only from OpenEXR.
        bits: a channel in the file: 8, 16 or 32.
        icc: profile of its colours, None for sRGB or unknown ones.
        camera: focal length and f-number from EXIF.
        turn: orientation by EXIF, 1 to 8, by which the stored picture was turned.
    """

    image: np.ndarray
    bits: int = 8
    icc: bytes | None = None
    camera: Camera = field(default_factory=Camera)
    turn: int = 1


def read(path: str | Path, argument: str = "IMAGE") -> Photograph:
    """Read a photo: upright, all its bits, with profile and camera.

    A picture in CMYK is brought to sRGB; grey becomes three channels.

    Args:
        path: 8-bit picture, 16-bit PNG or TIFF, HEIC (10 bits are read as 8) or OpenEXR.
        argument: What an error calls the file.

    Raises:
        InputError: Missing, unreadable, truncated, not a picture, or with transparent pixels.
    """
    if Path(path).suffix.lower() == ".exr":
        return Photograph(_read_exr(path, argument), bits=32)
    picture = images.open_picture(path, argument, ACCEPTED)
    camera, turn = _camera(picture), _turn(path)
    icc = picture.info.get("icc_profile") or None
    if picture.mode == "CMYK":
        return Photograph(_from_cmyk(picture, icc), camera=camera, turn=turn)
    icc = icc if icc and icc[16:20] == b"RGB " else None  # one of grey fits no colours
    if not picture.mode.startswith("I;16") and _stored_deep(path):
        return Photograph(_read_deep(path, argument, turn), 16, icc, camera, turn)
    bits = 16 if picture.mode.startswith("I;16") else 8
    image = images.to_array(picture, path, argument, ACCEPTED)
    return Photograph(image, bits, icc, camera, turn)


def write(
    path: str | Path,
    image: np.ndarray,
    bits: int = 8,
    icc: bytes | None = None,
    argument: str = "--out",
) -> None:
    """Write a picture; the suffix decides the format.

    Args:
        path: Where to; an old file is replaced only once the new one is complete.
        image: (H, W, 3), sRGB-encoded; clipped to [0, 1], but only at 0 for OpenEXR.
        bits: A channel: more than 8 gives 16 in PNG and TIFF. OpenEXR always has 32.
        icc: Profile to embed; OpenEXR takes none.
        argument: What an error calls the file.

    Raises:
        InputError: The place or the format cannot take the picture; nothing is left behind.
    """
    path = check_output(path, argument)
    suffix = path.suffix.lower()
    try:
        with images.replacing(path) as temporary:
            if suffix == ".exr":
                exr.write_colour(temporary, np.clip(image, 0, None) ** GAMMA)
            elif bits > 8 and suffix in DEEP:
                levels = np.round(np.clip(image, 0, 1) * 65535).astype(np.uint16)
                encode = _png if suffix == ".png" else _tiff
                temporary.write_bytes(encode(levels, icc))
            else:
                levels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
                options = images.FORMATS[suffix] | ({"icc_profile": icc} if icc else {})
                Image.fromarray(levels).save(temporary, **options)
    except (OSError, ValueError, struct.error) as error:
        if isinstance(error, InputError):
            raise
        accepted = f"a place and a format that can hold {image.shape[1]}x{image.shape[0]} pixels"
        raise InputError(f"{argument}: {path}: found {error}; accepted: {accepted}") from error


def check_output(path: str | Path, argument: str = "--out") -> Path:
    """`images.check_output`, but OpenEXR is accepted too."""
    return images.check_output(path, argument, SUFFIXES)


# --- Reading ---------------------------------------------------------------------------------


def _read_exr(path: str | Path, argument: str) -> np.ndarray:
    images.check_file(path, argument, ACCEPTED)
    try:
        light = exr.read_colour(Path(path))
    except InputError as error:
        raise InputError(f"{argument}: {error}") from error
    return (np.clip(light, 0, None) ** (1 / GAMMA)).astype(np.float32)


def _stored_deep(path: str | Path) -> bool:
    """Whether a colour picture has 16 bits a channel in its file; Pillow decodes 8 of them."""
    with Image.open(path) as picture:
        return ";16" in str(getattr(picture, "tile", ""))


def _read_deep(path: str | Path, argument: str, turn: int) -> np.ndarray:
    """All 16 bits of a picture that Pillow has found whole, turned as EXIF says."""
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            f"{argument}: {path}: found 16 bits a channel and no package opencv, which reads "
            "them; accepted: an environment with bokehlib[study], or 8 bits"
        ) from error
    levels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if levels is None or levels.dtype != np.uint16 or levels.ndim != 3:
        raise InputError(f"{argument}: {path}: found no 16-bit colours; accepted: {ACCEPTED}")
    if levels.shape[2] == 4 and (levels[..., 3] != 65535).any():
        raise InputError(f"{argument}: {path}: found transparent pixels; accepted: {ACCEPTED}")
    planes = [upright(levels[..., channel], turn) for channel in (2, 1, 0)]  # from BGR
    return np.stack(planes, axis=-1) / np.float32(65535)


def _turn(path: str | Path) -> int:
    """The orientation that a file's EXIF says, 1 where it says nothing or nonsense."""
    try:
        with Image.open(path) as stored:
            turn = stored.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError):
        return 1
    return turn if turn in range(1, 9) else 1


def _from_cmyk(picture: Image.Image, icc: bytes | None) -> np.ndarray:
    if icc:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        srgb = ImageCms.createProfile("sRGB")
        picture = ImageCms.profileToProfile(picture, profile, srgb, outputMode="RGB") or picture
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255


def _camera(picture: Image.Image) -> Camera:
    """What EXIF says; whatever is damaged or nonsense counts as not said."""
    try:
        found = picture.getexif().get_ifd(_EXIF_IFD)
        values = {name: float(found[tag]) for name, tag in _CAMERA.items() if tag in found}
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, ZeroDivisionError):
        return Camera()
    return Camera(**{name: value for name, value in values.items() if 0 < value < 1e5})


# --- Writing ---------------------------------------------------------------------------------


def _png(levels: np.ndarray, icc: bytes | None) -> bytes:
    import cv2

    kinds = [cv2.IMAGE_METADATA_ICCP] if icc else []
    metadata = [np.frombuffer(icc, np.uint8)] if icc else []
    done, encoded = cv2.imencodeWithMetadata(".png", levels[..., ::-1].copy(), kinds, metadata)
    if not done:
        raise OSError("no encoder of 16-bit PNG")
    return encoded.tobytes()


def _tiff(levels: np.ndarray, icc: bytes | None) -> bytes:
    """Baseline TIFF 6.0, 16 bits a channel in one uncompressed strip, with a profile.

    Written here because Pillow writes no 16-bit colours and OpenCV no profile.
    """
    height, width, channels = levels.shape
    short, long, undefined = 3, 4, 7  # types of values
    pixels = levels.astype("<u2").tobytes()
    depths = struct.pack("<3H", 16, 16, 16)
    behind = 8 + len(pixels)
    fields = [  # tag, type, count, value or place
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, channels, behind),
        (259, short, 1, 1),  # not compressed
        (262, short, 1, 2),  # RGB
        (273, long, 1, 8),  # where the strip begins
        (277, short, 1, channels),
        (278, long, 1, height),
        (279, long, 1, len(pixels)),
    ]
    if icc:
        fields.append((34675, undefined, len(icc), behind + len(depths)))
    data = pixels + depths + (icc or b"")
    data += b"\0" * (len(data) % 2)
    entries = b"".join(struct.pack("<HHII", *entry) for entry in fields)
    directory = struct.pack("<H", len(fields)) + entries + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory
