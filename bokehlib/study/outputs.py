"""Tables and figures: the notebook that makes each, and the measurements that it reads."""

from collections.abc import Collection
from dataclasses import dataclass, field

from bokehlib.methods import METHODS
from bokehlib.study.recipes import ABLATIONS, PHYSICS
from bokehlib.study.trainings import OF_TABLE_2C, TRAINING, TRAININGS


@dataclass(frozen=True)
class Scores:
    """A score file that a table needs: at the exact disparity alone, or at wrong ones too.

    An optional one is made where its weights are there, and not missed where they are not.
    """

    dataset: str
    method: str
    perturbed: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Output:
    """One table or figure: the notebook that makes it and the measurements it reads.

    Where there are ratings, Table 1 (right) comes with tables of tests and a figure.
    """

    notebook: str
    parameters: dict = field(default_factory=dict)
    scores: tuple[Scores, ...] = ()
    pictures: str = ""  # folder of results/pictures that another notebook fills first
    # probe -> of these methods; of those that do not run on every machine, where they are ready
    probes: dict[str, tuple[str, ...]] = field(default_factory=dict)


EMBEDDED = (  # what runs on every machine
    *("input", "scatter", "layered"),
    *("bokehdiff-mini-paper", "bokehdiff-mini"),
)
RETRAINED = (  # baselines that were trained here, where their weights are
    *("bokehme-retrained", "mpib-retrained"),
    *("deeplens-retrained", "restormer-retrained"),
)
COMPARED = (*EMBEDDED, "drbokeh", *RETRAINED)  # whose numbers come with the study
TRACED = ("scatter", "layered", "bokehdiff-mini")  # at wrong disparities of the path-traced scenes


def _compared(dataset: str, perturbed: Collection[str] = ()) -> tuple[Scores, ...]:
    return tuple(Scores(dataset, m, m in perturbed, optional=m in RETRAINED) for m in COMPARED)


def _every_method(*datasets: str) -> tuple[Scores, ...]:
    """Scores of every method that is ready; the first set comes first: others borrow from it."""
    return tuple(Scores(d, m, optional=m not in EMBEDDED) for d in datasets for m in METHODS)


def _trained(recipes: Collection[str]) -> tuple[Scores, ...]:
    """Scores of all trainings of these recipes; few of their adapters come with the study."""
    found = {name: TRAINING.match(name) for name in TRAININGS}
    return tuple(
        Scores("synbokeh-mini", name, optional=True)
        for name, match in found.items()
        if match and match["recipe"] in recipes
    )


def _table(notebook: str, name: str, scores: tuple[Scores, ...]) -> Output:
    return Output(notebook, {"table": name}, scores)


def _grid(figure: str) -> Output:
    return Output("46_image_grids", {"figure": figure}, pictures=figure)


_EBB = ("ebb_val294", "ebb_val294-original-borrowed", "ebb_val294-original")
_PERTURBED = _compared("synbokeh-mini", perturbed=COMPARED)[1:]
_RENDERED = _compared("rendered", perturbed=TRACED)
OUTPUTS = {
    "tableS2": _table("40_quality", "tableS2", _compared("synbokeh-mini")),
    "fig7_robustness": Output("43_robustness", {}, _PERTURBED),
    "claims": Output("43_robustness", {}, _PERTURBED + _RENDERED),
    "radius_sweep": Output("47_radius", probes={"radius": EMBEDDED[1:]}),
    "tableS2_rendered": _table("40_quality", "tableS2_rendered", _RENDERED),
    "strands": Output("53_strands", probes={"strands": TRACED}),
    "in_focus": Output("49_in_focus", probes={"focus": EMBEDDED}),
    "origins": Output("55_origins", probes={"origins": COMPARED}),
    "fig6_focal_stack": _grid("fig6_focal_stack"),
    "table1_quality": _table(
        "40_quality", "table1_quality", _every_method("ebb_val294", "blb_level5")
    ),
    "tableS1": _table("40_quality", "tableS1", _every_method(*_EBB)),
    "table1_ratings": Output("41_user_study", {"pictures": ""}),
    "tableS2_rebuilt": _table("40_quality", "tableS2_rebuilt", _every_method("synbokeh300")),
    "table2_ablation": _table("42_ablation", "table2_ablation", _trained(ABLATIONS)),
    "table2b_physics": _table("42_ablation", "table2b_physics", _trained(PHYSICS)),
    "table2c_beyond": _table("42_ablation", "table2c_beyond", _trained(OF_TABLE_2C)),
    "latents": Output("54_latents"),
    "speed": Output("44_speed", {}, _compared("synbokeh-mini")),
    "pisa_scaling": Output("44_speed"),
    "fig1_teaser": _grid("fig1_teaser"),
    "fig5_qualitative": _grid("fig5_qualitative"),
    "figS1_misalignment": _grid("figS1_misalignment"),
    "figS2_samples": _grid("figS2_samples"),
    "figS3_synthesis": _grid("figS3_synthesis"),
    "figS4_aperture_sweep": _grid("figS4_aperture_sweep"),
    "figS9_ablation": _grid("figS9_ablation"),
    "shallow_inputs": _grid("shallow_inputs"),
}
