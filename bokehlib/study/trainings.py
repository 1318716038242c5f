"""What Tables 2, 2b and 2c compare: recipes trained alike, with several seeds."""

import re
from dataclasses import replace

from bokehlib.study.recipes import ABLATIONS, BEYOND, PHYSICS, RECIPES, Recipe

TABLE_STEPS = 400
OF_TABLE_2C = ("mini_paper", *BEYOND)
SEVERAL = (  # trained with SEEDS seeds
    *("full", "no_coc", "no_softmax_q", "no_occlusion"),
    *PHYSICS,
    *OF_TABLE_2C,
)
SEEDS = 3


def on_mini(recipe: Recipe) -> Recipe:
    """The same recipe, `TABLE_STEPS` steps on the embedded prior; SqueezeNet stands for VGG16."""
    return replace(
        recipe,
        perceptual_net="squeeze",
        learning_rate=8e-4,
        warmup_steps=100,
        batch_size=16,
        steps=TABLE_STEPS,
    )


def trained_name(recipe: str, seed: int, whole: bool = False) -> str:
    """Name of one training of a recipe: "full-s0", or "full-whole-s0" without LoRA."""
    return f"{recipe}{'-whole' * whole}-s{seed}"


def _trained_alike(name: str, seed: int, whole: bool) -> Recipe:
    recipe = on_mini(RECIPES[name])
    return replace(recipe, seed=seed, whole=whole or recipe.whole)


TRAINING = re.compile(r"^(?P<recipe>.+?)(?P<tuned>(?:-whole)?)-s(?P<seed>\d+)$")
TRAININGS = {  # Table 2b needs no LoRA: its rows share all but the attention
    trained_name(name, seed, whole): _trained_alike(name, seed, whole)
    for whole, names in ((False, (*ABLATIONS, *OF_TABLE_2C)), (True, (*ABLATIONS, *PHYSICS)))
    for name in names
    for seed in range(SEEDS if name in SEVERAL else 1)
}
TRAINABLE = RECIPES | TRAININGS  # what the command that trains accepts
ADAPTERS = {  # what one training makes -> recipe and profile of its command
    **{name: (name, "mini") for name in TRAININGS},
    "bokehdiff-mini-paper": ("mini_paper", "mini"),
    "bokehdiff-sdxl": ("full", "sdxl"),
}
