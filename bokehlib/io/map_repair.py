"""Make a disparity map fit its photo: unknown pixels filled, orientation found. No torch."""

import numpy as np
from PIL import Image, ImageOps

from bokehlib.io.errors import InputError
from bokehlib.io.images import match_size

AS_STORED, TURNED = "as stored", "turned with the photo"
CLEARLY = 0.1  # of correlation, by which a turned map must agree better with the photo's edges
SMALL = 192  # px, longer side at which edges are compared
_ORIENTATION = 0x0112  # in EXIF


def fill_holes(values: np.ndarray, known: np.ndarray, farther: np.ufunc) -> np.ndarray:
    """Fill unknown pixels from the farthest of their neighbours to the left, right, top and bottom.

    A hole beside an object is what the object hides from a second camera, so the background
    continues into it.

    Args:
        values: (H, W).
        known: (H, W) bool, with at least one known pixel.
        farther: `np.fmin` for disparity, `np.fmax` for depth.

    Returns:
        (H, W); known pixels are unchanged.
    """
    holes = ~known
    filled = np.where(known, values, np.nan)
    while np.isnan(filled).any():  # a second pass serves rows and columns without a known pixel
        sides = [_nearest(view(filled)) for view in _VIEWS]
        candidates = [back(side) for back, side in zip(_BACK, sides, strict=True)]
        filled = np.where(holes & np.isnan(filled), farther.reduce(candidates), filled)
    return filled


_VIEWS = (lambda m: m, lambda m: m[:, ::-1], lambda m: m.T, lambda m: m.T[:, ::-1])
_BACK = (lambda m: m, lambda m: m[:, ::-1], lambda m: m.T, lambda m: m[:, ::-1].T)


def _nearest(values: np.ndarray) -> np.ndarray:
    """The nearest known value at or left of every pixel, NaN where there is none."""
    column = np.where(np.isnan(values), -1, np.arange(values.shape[1]))
    last = np.maximum.accumulate(column, axis=1)
    return np.where(last < 0, np.nan, np.take_along_axis(values, last.clip(0), axis=1))


def oriented(disparity: np.ndarray, image: np.ndarray, turn: int) -> tuple[np.ndarray, str]:
    """Bring a map to the size of its photo, turned as the photo's EXIF says if only that fits.

    Where both shapes fit (a square or a mirrored photo) the map is turned if its edges then
    agree clearly better with those of the photo.

    Args:
        disparity: (h, w) in [0, 1], as stored.
        image: (H, W, 3), as displayed.
        turn: EXIF orientation of the photo, 1 to 8.

    Returns:
        (H, W) float32 in [0, 1], and `AS_STORED` or `TURNED`; "" for a photo that was not turned.

    Raises:
        InputError: Neither fits the photo's aspect ratio.
    """
    height, width = image.shape[:2]
    if turn == 1:
        return match_size(disparity, height, width), ""
    fitting, refused = {}, []
    for name, candidate in ((AS_STORED, disparity), (TURNED, upright(disparity, turn))):
        try:
            fitting[name] = match_size(candidate, height, width)
        except InputError as error:
            refused.append(error)
    if not fitting:
        raise refused[0]
    if len(fitting) == 2:
        stored, turned = (_edge_agreement(image, fitting[name]) for name in (AS_STORED, TURNED))
        best = TURNED if turned > stored + CLEARLY else AS_STORED
    else:
        best = next(iter(fitting))
    return fitting[best], best


def upright(plane: np.ndarray, turn: int) -> np.ndarray:
    """Turn one plane (H, W) as an EXIF orientation from 1 to 8 says."""
    picture = Image.fromarray(plane.astype(np.float32))
    picture.getexif()[_ORIENTATION] = turn
    return np.array(ImageOps.exif_transpose(picture))


def _edge_agreement(image: np.ndarray, disparity: np.ndarray) -> float:
    """Correlation of the gradients' magnitudes of a photo (H, W, 3) and its map (H, W)."""
    edges = []
    for plane in (image.mean(axis=-1), disparity):
        picture = Image.fromarray(plane.astype(np.float32))
        picture.thumbnail((SMALL, SMALL), Image.Resampling.BOX)
        edges.append(np.hypot(*np.gradient(np.asarray(picture))).ravel())
    if min(map(np.ptp, edges)) == 0:
        return 0.0
    return float(np.corrcoef(edges)[0, 1])
