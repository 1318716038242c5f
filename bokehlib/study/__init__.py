"""The study as data: recipes, methods, data sets, tables and figures.

An ablation is one line in `RECIPES`, a rival one line in `METHODS` (and one file), a table or
figure one line in `ARTEFACTS`. Only the standard library is imported, so that tables can be
rendered where torch is not installed.
"""

from bokehlib.study.artefacts import (
    ARTEFACTS,
    EMBEDDED,
    RETRAINED,
    Artefact,
    Scores,
)
from bokehlib.study.latents import (
    EMBEDDED_LATENT,
    LATENT_RECIPE,
    LATENTS,
    Latent,
    Lessons,
)
from bokehlib.study.measures import (
    DATASETS,
    FOCUS_APERTURE,
    FOCUS_REGIONS,
    FROM_THE_PRIOR,
    ORIGIN_SHARE,
    ORIGINS,
    PROBES,
    ROBUSTNESS_BLUR,
    ROBUSTNESS_DISTURBANCES,
    ROBUSTNESS_RADII,
    STRAND_ERRORS,
    SWEEP_RADII,
    Probe,
)
from bokehlib.study.methods import (
    METHODS,
    Method,
    method,
)
from bokehlib.study.recipes import (
    ABLATION_LABELS,
    ABLATIONS,
    AS_PUBLISHED,
    BEYOND,
    FULL,
    MINI,
    MINI_PAPER,
    PHYSICS,
    RECIPES,
    LossWeights,
    Pisa,
    Recipe,
)
from bokehlib.study.trainings import (
    SEEDS,
    SEVERAL,
    TABLE_STEPS,
    TRAINING,
    TRAININGS,
    on_mini,
    trained_name,
)

__all__ = [
    "ABLATIONS",
    "ABLATION_LABELS",
    "ARTEFACTS",
    "AS_PUBLISHED",
    "BEYOND",
    "DATASETS",
    "EMBEDDED",
    "EMBEDDED_LATENT",
    "FOCUS_APERTURE",
    "FOCUS_REGIONS",
    "FROM_THE_PRIOR",
    "FULL",
    "LATENTS",
    "LATENT_RECIPE",
    "METHODS",
    "MINI",
    "MINI_PAPER",
    "ORIGINS",
    "ORIGIN_SHARE",
    "PHYSICS",
    "PROBES",
    "RECIPES",
    "RETRAINED",
    "ROBUSTNESS_BLUR",
    "ROBUSTNESS_DISTURBANCES",
    "ROBUSTNESS_RADII",
    "SEEDS",
    "SEVERAL",
    "STRAND_ERRORS",
    "SWEEP_RADII",
    "TABLE_STEPS",
    "TRAINING",
    "TRAININGS",
    "Artefact",
    "Latent",
    "Lessons",
    "LossWeights",
    "Method",
    "Pisa",
    "Probe",
    "Recipe",
    "Scores",
    "method",
    "on_mini",
    "trained_name",
]
