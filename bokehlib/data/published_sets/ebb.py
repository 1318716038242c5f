"""EBB Val294: the last 294 pairs of the training part of EBB!, focus found in the pictures.

Pairs of the same name in one of `PAIRS`; beside them `depth/<name>_pred.npy`, disparity of any
scale with the largest value nearest, and, if there is one, `mask/<name>.png` of what is in focus.
The set does not say its aperture.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bokehlib.data.published_sets.exposure import align_exposure
from bokehlib.data.published_sets.shots import Contents, Reading, Shot, same_size
from bokehlib.io.errors import InputError
from bokehlib.io.images import match_size, read_image

EXPECTED = 294
PAIRS = (  # folders of inputs and truths: as published by EBB!, by the paper's code and by others
    ("Training/original", "Training/bokeh"),
    ("original", "bokeh"),
    ("input", "bokeh"),
    ("in", "gt"),
    ("validation/in", "validation/gt"),
)
PICTURES = (".jpg", ".jpeg", ".png")
HYSTERESIS = ((20, 170), (20, 120), (20, 40))  # of Canny, on grey levels 0 to 255
BOXES = (0.2, 0.4, 1.0)  # shares of the sides, round the middle
NEARER = 0.05  # disparities above the mean by more belong to something before the subject


def recognise(root: Path) -> bool:
    """True if a folder holds pairs of this layout."""
    return _folders(root) is not None


def contents(root: Path, exposure: str = "channels") -> Contents:
    """The last 294 pairs in the order of their numbers.

    Args:
        root: of the set.
        exposure: how the input is aligned with the truth, see `exposure.align_exposure`.
    """
    found = Contents(EXPECTED)
    folders = _folders(root)
    if folders is None:
        return found
    inputs, truths = (_pictures(folder) for folder in folders)
    names = sorted({*inputs, *truths}, key=_number)[-EXPECTED:]
    focus: dict[str, float] = {}
    for name in names:
        for folder, pictures in zip(folders, (inputs, truths), strict=True):
            if name not in pictures:
                found.fault(f"{folder / name}.jpg: found no such file; accepted: both of a pair")
        if name in inputs and name in truths:
            found.shots.append(_shot(root, inputs[name], truths[name], exposure, focus))
    return found


def input_pictures(root: Path) -> list[Path]:
    """The all-in-focus pictures of a folder in this layout that are measured; none in another."""
    folders = _folders(root)
    found = _pictures(folders[0]) if folders else {}
    return [found[name] for name in sorted(found, key=_number)[-EXPECTED:]]


def _folders(root: Path) -> tuple[Path, Path] | None:
    for first, second in PAIRS:
        if (root / first).is_dir() and (root / second).is_dir():
            return root / first, root / second
    return None


def _pictures(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in folder.iterdir() if path.suffix.lower() in PICTURES}


def _number(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else -1), name


def _shot(root: Path, image: Path, target: Path, exposure: str, focus: dict[str, float]) -> Shot:
    """A pair; its focus is looked for once, since all of it is read for that."""

    def read() -> Reading:
        seen, true = read_image(image, "input"), read_image(target, "truth")
        same_size(target, true, seen, image.name)
        path = root / "depth" / f"{image.stem}_pred.npy"
        height, width = seen.shape[:2]
        disparity = match_size(read_map(path), height, width, f"disparity {path}")
        if image.stem not in focus:
            mask = root / "mask" / f"{image.stem}.png"
            focus[image.stem] = (
                focus_from_mask(disparity, _read_mask(mask, seen))
                if mask.exists()
                else focus_from_edges(disparity, seen, true)
            )
        return Reading(align_exposure(seen, true, exposure), disparity, true, focus[image.stem])

    return Shot(image.stem, 0, read)


def read_map(path: Path) -> np.ndarray:
    """A network's map as disparity (H, W) float32 in [0, 1], 1 = nearest.

    Stretched from the least to the largest value of its 3 x 3 opening, which single pixels do not
    reach, and clipped, as published.

    Raises:
        InputError: Missing, truncated, no map, NaN or infinite, or the same everywhere.
    """
    from scipy import ndimage

    accepted = "a .npy array of (H, W), disparity of any scale, nearest = largest"
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: found no such file; accepted: {accepted}") from None
    except (OSError, ValueError, EOFError) as error:
        found = "a broken or truncated .npy file"
        raise InputError(f"{path}: found {found}; accepted: {accepted}") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "fiu":
        found = f"{getattr(values, 'dtype', 'an archive')}, shape {np.shape(values)}"
        raise InputError(f"{path}: found {found}; accepted: {accepted}")
    values = values.astype(np.float64)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise InputError(f"{path}: found {bad} NaN or infinite values; accepted: {accepted}")
    opened = ndimage.grey_opening(values, size=(3, 3)) if values.size else np.zeros((1, 1))
    low, high = opened.min(), opened.max()
    if low == high:
        raise InputError(f"{path}: found one value everywhere; accepted: {accepted}")
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)


def _read_mask(path: Path, image: np.ndarray) -> np.ndarray:
    mask = read_image(path, "mask").mean(-1)
    height, width = image.shape[:2]
    return match_size(mask, height, width, f"mask {path}") > 0.5


def focus_from_mask(disparity: np.ndarray, mask: np.ndarray) -> float:
    """Median disparity under a mask (H, W) bool, of the middle of the picture if it is empty."""
    chosen = mask if mask.any() else _box(mask.shape, BOXES[0])
    return float(np.median(disparity[chosen]))


def focus_from_edges(disparity: np.ndarray, image: np.ndarray, target: np.ndarray) -> float:
    """Median disparity where both pictures have edges: what the lens left sharp.

    Canny edges of both, grown to 5 x 5, in the middle of the picture if there are some; of these
    not what lies well before the rest. A pair without a common edge has its middle in focus.

    Args:
        disparity: (H, W).
        image: (H, W, 3) in [0, 1].
        target: Likewise.
    """
    from scipy import ndimage

    common = _common_edges(image, target)
    sharp = ndimage.binary_dilation(common, np.ones((5, 5), bool))
    boxes = (sharp & _box(sharp.shape, share) for share in BOXES)
    chosen = next((box for box in boxes if box.any()), _box(sharp.shape, BOXES[0]))
    values = disparity[chosen]
    return float(np.median(values[values <= values.mean() + NEARER]))


def _common_edges(image: np.ndarray, target: np.ndarray) -> np.ndarray:
    from skimage.feature import canny

    grey = [255 * (x @ np.array([0.299, 0.587, 0.114])) for x in (image, target)]
    for low, high in HYSTERESIS:
        first, second = (canny(g, sigma=0, low_threshold=low, high_threshold=high) for g in grey)
        if (first & second).any():
            break
    return first & second


def _box(shape: Iterable[int], share: float) -> np.ndarray:
    """A box (H, W) bool round the middle with that share of both sides, a pixel at least."""
    height, width = shape
    box = np.zeros((height, width), bool)
    h, w = (max(1, round(share * n)) for n in (height, width))
    top, left = (height - h) // 2, (width - w) // 2
    box[top : top + h, left : left + w] = True
    return box
