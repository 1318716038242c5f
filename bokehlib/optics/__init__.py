"""Thin-lens optics: circle of confusion, soft edge, tokens and self-occlusion (Eq. 4 to 9, S1)."""

from bokehlib.optics.lens import (
    IN_FOCUS_RADIUS,
    Grid,
    Lens,
    circle_of_confusion,
    distance,
    log_soft_step,
    reach,
    signed_coc,
    soft_step,
    token_positions,
    token_radius,
)
from bokehlib.optics.occlusion import HAS_TRITON, MODELS, Visibility, visibility
from bokehlib.optics.rays import CHUNK, source_offsets

__all__ = [
    "CHUNK",
    "HAS_TRITON",
    "IN_FOCUS_RADIUS",
    "MODELS",
    "Grid",
    "Lens",
    "Visibility",
    "circle_of_confusion",
    "distance",
    "log_soft_step",
    "reach",
    "signed_coc",
    "soft_step",
    "source_offsets",
    "token_positions",
    "token_radius",
    "visibility",
]
