"""Tables and figures: the reporter that makes each, and the measurements that it reads."""

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
class Artefact:
    """One table or figure: the reporter that makes it and the measurements it reads.

    Where there are ratings, Table 1 (right) comes with tables of tests and a figure.
    """

    notebook: str
    parameters: dict = field(default_factory=dict)
    scores: tuple[Scores, ...] = ()
    pictures: str = ""  # folder of results/pictures that a worker fills first
    # probe -> of these methods; of those that do not run on every machine, where they are ready
    probes: dict[str, tuple[str, ...]] = field(default_factory=dict)


EMBEDDED = (  # what runs on every machine
    *("input", "scatter", "layered"),
    *("bokehdiff-mini-paper", "bokehdiff-mini"),
)
RETRAINED = (  # rivals that were trained here, where their weights are
    *("bokehme-retrained", "mpib-retrained"),
    *("deeplens-retrained", "restormer-retrained"),
)
_MINI_SCORES = (
    *(Scores("synbokeh-mini", m) for m in (*EMBEDDED, "drbokeh")),
    *(Scores("synbokeh-mini", m, optional=True) for m in RETRAINED),
)
COMPARED = (*EMBEDDED, "drbokeh", *RETRAINED)  # whose numbers come with the study
_DISTURBED_SCORES = tuple(
    Scores("synbokeh-mini", m, perturbed=True) for m in (*EMBEDDED[1:], "drbokeh")
)
_RETRAINED_SCORES = tuple(
    Scores("synbokeh-mini", m, perturbed=True, optional=True) for m in RETRAINED
)
TRACED = ("scatter", "layered", "bokehdiff-mini")  # at wrong disparities of the path-traced scenes
_RENDERED_SCORES = (
    *(Scores("rendered", m, perturbed=m in TRACED) for m in (*EMBEDDED, "drbokeh")),
    *(Scores("rendered", m, optional=True) for m in RETRAINED),
)
_STRIP = "46_picture_strips"


def _held_by_others(*datasets: str) -> tuple[Scores, ...]:
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


def _strip(figure: str) -> Artefact:
    return Artefact(_STRIP, {"figure": figure}, pictures=figure)


ARTEFACTS = {
    "tableS2": Artefact("40_quality_tables", {"table": "tableS2"}, _MINI_SCORES),
    "fig7_robustness": Artefact("43_fig7_robustness", {}, _DISTURBED_SCORES + _RETRAINED_SCORES),
    "claims": Artefact("48_claims", {}, _DISTURBED_SCORES + _RENDERED_SCORES),
    "radius_sweep": Artefact("47_radius", probes={"radius": EMBEDDED[1:]}),
    "tableS2_rendered": Artefact(
        "40_quality_tables", {"table": "tableS2_rendered"}, _RENDERED_SCORES
    ),
    "strands": Artefact("53_strands", probes={"strands": TRACED}),
    "in_focus": Artefact("49_in_focus", probes={"focus": EMBEDDED}),
    "origins": Artefact("55_origins", probes={"origins": COMPARED}),
    "fig6_focal_stack": _strip("fig6_focal_stack"),
    "table1_quality": Artefact(
        "40_quality_tables",
        {"table": "table1_quality"},
        _held_by_others("ebb_val294", "blb_level5"),
    ),
    "tableS1": Artefact(
        "40_quality_tables",
        {"table": "tableS1"},
        _held_by_others("ebb_val294", "ebb_val294-original-borrowed", "ebb_val294-original"),
    ),
    "table1_ratings": Artefact("41_user_study", {"pictures": ""}),
    "tableS2_rebuilt": Artefact(
        "40_quality_tables", {"table": "tableS2_rebuilt"}, _held_by_others("synbokeh300")
    ),
    "table2_ablation": Artefact(
        "42_ablation_tables", {"table": "table2_ablation"}, _trained(ABLATIONS)
    ),
    "table2b_physics": Artefact(
        "42_ablation_tables", {"table": "table2b_physics"}, _trained(PHYSICS)
    ),
    "table2c_beyond": Artefact(
        "42_ablation_tables", {"table": "table2c_beyond"}, _trained(OF_TABLE_2C)
    ),
    "latents": Artefact("54_latents"),
    "speed": Artefact("44_speed", {}, _MINI_SCORES),
    "pisa_scaling": Artefact("45_pisa_scaling"),
    "fig1_teaser": _strip("fig1_teaser"),
    "fig5_qualitative": _strip("fig5_qualitative"),
    "figS1_misalignment": _strip("figS1_misalignment"),
    "figS2_samples": _strip("figS2_samples"),
    "figS3_synthesis": _strip("figS3_synthesis"),
    "figS4_aperture_sweep": _strip("figS4_aperture_sweep"),
    "figS9_ablation": _strip("figS9_ablation"),
    "shallow_inputs": _strip("shallow_inputs"),
}
