"""The study as data: recipes, methods, data sets, tables and figures.

An ablation is one line in `RECIPES`, a baseline one line in `METHODS` (and one file), a table or
figure one line in `OUTPUTS`. Only the standard library is imported, so that tables can be
rendered where torch is not installed.
"""

from bokehlib.bokehdiff.config import (
    AS_PUBLISHED,
    EMBEDDED_LATENT,
    FULL,
    Latent,
    LossWeights,
    Pisa,
    Recipe,
    recipe_from,
)
from bokehlib.data import DATASETS
from bokehlib.evaluation.protocol import (
    FOCUS_APERTURE,
    FOCUS_REGIONS,
    FROM_THE_PRIOR,
    ORIGIN_SHARE,
    ORIGINS,
    ROBUSTNESS_BLUR,
    ROBUSTNESS_DISTURBANCES,
    ROBUSTNESS_RADII,
    STRAND_ERRORS,
    SWEEP_RADII,
)
from bokehlib.methods import METHODS, Method, method
from bokehlib.study.foregrounds import FOREGROUND_NEGATIVE, FOREGROUND_PROMPTS
from bokehlib.study.latents import LATENT_RECIPE, LATENTS, Lessons
from bokehlib.study.measures import PROBES, Probe
from bokehlib.study.outputs import EMBEDDED, OUTPUTS, RETRAINED, Output, Scores
from bokehlib.study.recipes import (
    ABLATION_LABELS,
    ABLATIONS,
    BEYOND,
    MINI,
    MINI_PAPER,
    PHYSICS,
    RECIPES,
)
from bokehlib.study.trainings import (
    ADAPTERS,
    SEEDS,
    SEVERAL,
    TABLE_STEPS,
    TRAINABLE,
    TRAINING,
    TRAININGS,
    on_mini,
    trained_name,
)
