"""The scenes of `rendered`: name -> function of a generator that gives a `World`."""

from collections.abc import Callable

import numpy as np

from bokehlib.extras.pathtracing import SEED
from bokehlib.extras.pathtracing.scenes import indoors, outdoors, plants, thin
from bokehlib.extras.pathtracing.world import World

SCENES: dict[str, Callable[[np.random.Generator], World]] = {
    "hair": thin.hair,
    "fence": thin.fence,
    "branches": plants.branches,
    "glasses": indoors.glasses,
    "pages": indoors.pages,
    "chess": indoors.chess,
    "street": outdoors.street,
    "meadow": plants.meadow,
    "wheel": thin.wheel,
    "fur": indoors.fur,
    "dandelions": plants.dandelions,
    "harbour": outdoors.harbour,
}


def build(name: str, seed: int = SEED) -> World:
    """A scene by name; the same seed gives the same scene."""
    place = list(SCENES).index(name)
    return SCENES[name](np.random.default_rng([seed, place]))
