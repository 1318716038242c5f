"""Synthetic pairs for training and measuring: layered scenes through an exact thin lens (Sec. 3.3).

`Synthesiser(photos, cutouts, size, margin, device).batch(seed, ns)` gives the pairs, and
`crops(photos, size, device)(seed, ns)` plain photographs for the autoencoder and the prior.
"""

from bokehlib.synthesis.mattes import (
    EVAL_FAMILIES,
    RELIEF_FAMILIES,
    TRAIN_FAMILIES,
    Cutouts,
    draw_cutouts,
    load_cutouts,
)
from bokehlib.synthesis.photos import crops
from bokehlib.synthesis.planes import Layers, lens_points, lens_points_needed, to_display
from bokehlib.synthesis.scenes import Batch, Scene, Synthesiser, training_cutouts
from bokehlib.synthesis.shading import lit

__all__ = [
    "EVAL_FAMILIES",
    "RELIEF_FAMILIES",
    "TRAIN_FAMILIES",
    "Batch",
    "Cutouts",
    "Layers",
    "Scene",
    "Synthesiser",
    "crops",
    "draw_cutouts",
    "lens_points",
    "lens_points_needed",
    "lit",
    "load_cutouts",
    "to_display",
    "training_cutouts",
]
