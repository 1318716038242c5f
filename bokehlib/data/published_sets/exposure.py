"""Aligning the exposure of an input with its truth's (Sec. 4.1, D12)."""

import numpy as np

ALIGNMENTS = {  # name -> axes over which one mean is taken
    "channels": (0, 1),  # as published: a factor for each channel
    "global": (0, 1, 2),  # the paper's words: one factor for the picture
}


def align_exposure(image: np.ndarray, target: np.ndarray, alignment: str) -> np.ndarray:
    """Scale the input to the mean of the truth; the truth stays.

    Args:
        image: (H, W, 3), sRGB-encoded in [0, 1]: means are of encoded values, as published.
        target: Likewise.
        alignment: "channels", "global" or "none".

    Returns:
        (H, W, 3), clipped to [0, 1], the dtype of image. A black channel stays black.

    Raises:
        KeyError: Another alignment.
    """
    if alignment == "none":
        return image
    if alignment not in ALIGNMENTS:
        raise KeyError(f"unknown alignment {alignment!r}; known: none, {', '.join(ALIGNMENTS)}")
    axes = ALIGNMENTS[alignment]
    mean, wanted = (x.mean(axes, dtype=np.float64, keepdims=True) for x in (image, target))
    factor = np.divide(wanted, mean, out=np.ones_like(mean), where=mean > 0)
    return np.clip(image * factor, 0, 1).astype(image.dtype)
