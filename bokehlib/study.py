"""The study as data: recipes, methods, data sets, tables and figures.

An ablation is one line in `RECIPES`, a rival one line in `METHODS` (and one file), a table or
figure one line in `ARTEFACTS`. Only the standard library is imported, so that tables can be
rendered where torch is not installed.
"""

import re
from dataclasses import dataclass, field, replace

# --- Recipes: how BokehDiff is trained. Every default is the paper's ------------------------


@dataclass(frozen=True)
class Pisa:
    """Where PISA stands in the U-Net and which of its three ideas are on (Sec. 3.2)."""

    sites: tuple[str, ...] = ("down_blocks",)  # self-attentions whose module path has one of these
    normalise: str = "queries"  # "queries" (Eq. 3) or "keys" (plain softmax, Eq. 2)
    coc: bool = True  # circle-of-confusion mask (Eq. 5, 6)
    occlusion: bool = True  # self-occlusion (Eq. 7-9)
    visibility: str = "paper"  # the model of self-occlusion: "paper" or "thin_lens"
    divide_by_coverage: bool = False  # a constant image stays constant


@dataclass(frozen=True)
class LossWeights:
    """The lambdas of Eq. 12."""

    mse: float = 1.0
    perceptual: float = 5.0
    edge: float = 1.0
    adversarial: float = 0.5


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run makes; `Recipe()` is the complete model."""

    pisa: Pisa = Pisa()
    weights: LossWeights = LossWeights()
    timestep: int = 499
    encoder: str = "lora"  # of the encoder's end: "lora", "full" or "fixed"; or as the "authors" do
    rank: int = 8  # of every LoRA pair
    whole: bool = False  # the whole U-Net is tuned, without LoRA
    lora_blocks: tuple[str, ...] = ("down_blocks",)  # U-Net parts that carry LoRA
    learning_rate: float = 1e-4  # AdamW, cosine to zero
    warmup_steps: int = 0
    batch_size: int = 2
    steps: int = 20_000
    perceptual_net: str = "vgg"  # backbone of LPIPS in the loss: "vgg", "squeeze" or "alex"
    seed: int = 0
    # Beyond the paper
    detail: bool = False  # the networks keep away from what is right without them
    refined: bool = False  # outlines of the disparity are moved to those of the photo first
    optics_channels: bool = False  # defocus and disparity beside the latent
    classical: bool = False  # the classical render (in layers), corrected in latent space
    disturbed: float = 0.0  # px by which every second training pair's disparity may be wrong
    # The published command line's, where the paper says otherwise or nothing
    semantics: str = "ours"  # the maths that it is trained under: "ours" or "published"
    edge: str = "paper"  # the edge loss: "paper" (Eq. 10) or "authors"
    hardening: str = "geometric"  # of the mask's edge; "steps": 3 and 2 more a step
    adversarial_from: int = 0  # the step from which the adversarial term counts
    encoder_rate: float = 1.0  # the encoder's learning rate over the U-Net's


FULL = Recipe()

ABLATIONS = {  # the order is the row order of Table 2
    "no_adv": replace(FULL, weights=replace(FULL.weights, adversarial=0.0)),
    "no_vgg": replace(FULL, weights=replace(FULL.weights, perceptual=0.0)),
    "no_edge": replace(FULL, weights=replace(FULL.weights, edge=0.0)),
    "fixed_encoder": replace(FULL, encoder="fixed"),
    "no_coc": replace(FULL, pisa=replace(FULL.pisa, coc=False)),
    "no_softmax_q": replace(FULL, pisa=replace(FULL.pisa, normalise="keys")),
    "no_occlusion": replace(FULL, pisa=replace(FULL.pisa, occlusion=False)),
    "t249": replace(FULL, timestep=249),
    "t749": replace(FULL, timestep=749),
    "full": FULL,
}
ABLATION_LABELS = {  # as printed in Table 2
    "no_adv": "w/o Ladv",
    "no_vgg": "w/o LVGG",
    "no_edge": "w/o Ledge",
    "fixed_encoder": "fixed E",
    "no_coc": "w/o CoC",
    "no_softmax_q": "w/o SoftmaxQ",
    "no_occlusion": "w/o occlusion",
    "t249": "T = 249",
    "t749": "T = 749",
    "full": "Complete model",
}

# The paper's model on the embedded prior. Rank 8 on the down blocks of so small a network is the
# limit, no VGG16 comes with the installation, and the weights were trained before the adversarial
# term was there: rank 16 on every block, a faster start, SqueezeNet, and more weight on the MSE.
MINI_PAPER = replace(
    FULL,
    weights=LossWeights(mse=20.0, perceptual=1.0, edge=1.0, adversarial=0.0),
    rank=16,
    lora_blocks=("down_blocks", "mid_block", "up_blocks", "conv_in", "conv_out"),
    learning_rate=8e-4,
    warmup_steps=100,
    batch_size=16,
    steps=1_461,  # what six minutes of one GPU gave
    perceptual_net="squeeze",
)
_CHANNELS = replace(MINI_PAPER, optics_channels=True)

# The published command line (docs/divergences.md, D1 to D5).
AS_PUBLISHED = replace(
    FULL,
    pisa=Pisa(sites=("down_blocks.1.attentions.0.",)),
    weights=replace(FULL.weights, adversarial=0.1),
    encoder="authors",
    lora_blocks=("down_blocks", "mid_block", "up_blocks"),
    learning_rate=5e-5,
    warmup_steps=20,
    batch_size=1,
    steps=120_000,
    semantics="published",
    edge="authors",
    hardening="steps",
    adversarial_from=30_000,
    encoder_rate=0.1,
)

# The default: it refines the disparity, and corrects the layered render near outlines and clipped
# lights. The autoencoder's loss cancels, so the encoder needs no training; half of its disparities
# were wrong.
MINI = replace(
    _CHANNELS,
    classical=True,
    detail=True,
    refined=True,
    encoder="fixed",
    disturbed=4.0,
    learning_rate=1e-3,
    batch_size=32,
    steps=3_000,
)

BEYOND = {  # what the paper does not have, each against "mini_paper": the rows of Table 2c
    "mini_rank8": replace(MINI_PAPER, rank=8),
    "mini_rank32": replace(MINI_PAPER, rank=32),
    "mini_whole": replace(MINI_PAPER, whole=True),
    "mini_detail": replace(MINI_PAPER, detail=True),
    "mini_channels": _CHANNELS,
    "mini_thin_lens": replace(MINI_PAPER, pisa=replace(MINI_PAPER.pisa, visibility="thin_lens")),
    "mini_disturbed": replace(MINI_PAPER, disturbed=4.0),
    "mini_residual": replace(_CHANNELS, classical=True),
    "mini_confined": replace(_CHANNELS, classical=True, detail=True),
}


def _physics(**switches) -> Recipe:
    """All get the optics as channels: then a mask is not the only way to know the aperture."""
    return replace(_CHANNELS, pisa=replace(_CHANNELS.pisa, **switches))


PHYSICS = {  # the rows of Table 2b
    "physics-plain": _physics(sites=()),
    "physics-keys": _physics(normalise="keys", occlusion=False),
    "physics-no_visibility": _physics(occlusion=False),
    "physics-paper": _physics(),
    "physics-thin_lens": _physics(visibility="thin_lens"),
    "physics-thin_lens-coverage": _physics(visibility="thin_lens", divide_by_coverage=True),
}

RECIPES = {
    **ABLATIONS,
    "as_published": AS_PUBLISHED,
    "mini": MINI,
    "mini_paper": MINI_PAPER,
    **BEYOND,
    **PHYSICS,
}

# --- Trainings: what Tables 2, 2b and 2c compare, all alike ---------------------------------------

TABLE_STEPS = 400
_OF_TABLE_2C = ("mini_paper", *BEYOND)
SEVERAL = (  # trained with SEEDS seeds
    *("full", "no_coc", "no_softmax_q", "no_occlusion"),
    *PHYSICS,
    *_OF_TABLE_2C,
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
    for whole, names in ((False, (*ABLATIONS, *_OF_TABLE_2C)), (True, (*ABLATIONS, *PHYSICS)))
    for name in names
    for seed in range(SEEDS if name in SEVERAL else 1)
}

# --- Methods: whatever turns (image, disparity, lens) into a picture -------------------------


@dataclass(frozen=True)
class Method:
    """One row of the quality tables."""

    label: str  # as printed; the paper's name where the paper has one
    phrase: str  # what it is, in one phrase
    loader: str = ""  # "module:function", resolved on first use; "" = not part of this version
    weights: tuple[str, ...] = ()  # files in bokehlib/weights or BOKEHLIB_WEIGHTS
    needs: tuple[str, ...] = ()  # packages beyond the library's own, as they are imported
    paints: bool = False  # paints what is hidden: with LaMa where the user has it, else OpenCV
    published: str = ""  # the method's name in results/published.csv, "" if the paper has none
    colour: str = "#777777"  # in figures
    files: str = ""  # "module:function" that lists the weight files, where they are no fixed names


METHODS = {
    "input": Method("Input", "the all-in-focus photo itself", "bokehlib.baselines.identity:load"),
    "scatter": Method(
        "Scatter",
        "classical scatter renderer, BokehMe's published kernel",
        "bokehlib.baselines.scatter:load",
        colour="#d95f02",
    ),
    "layered": Method(
        "Scatter in layers",
        "the same kernel in up to three layers, cut where outlines are; ours",
        "bokehlib.baselines.layered:load",
        colour="#a6761d",
    ),
    "bokehdiff-mini-paper": Method(
        "BokehDiff-mini (paper)",
        "the paper's one-step model with PISA, without the adversarial term, on the embedded prior",
        "bokehlib.mini:load",
        weights=("mini-base.safetensors", "bokehdiff-mini-paper.safetensors"),
        published="BokehDiff",
        colour="#66a6d6",
    ),
    "bokehdiff-mini": Method(
        "BokehDiff-mini (given layers)",
        "one step with PISA on the embedded prior, to correct what the layered render gets wrong",
        "bokehlib.mini:load",
        weights=("mini-base.safetensors", "bokehdiff-mini.safetensors", "refiner.safetensors"),
        published="BokehDiff",
        colour="#1b6ca8",
    ),
    "bokehdiff-sdxl": Method(
        "BokehDiff",
        "one-step diffusion with PISA on SDXL: the authors' adapter, or one of your own",
        "bokehlib.sdxl.loading:load",
        needs=("transformers",),
        published="BokehDiff",
        files="bokehlib.sdxl_files:decisive",
    ),
    "bokehme": Method(
        "BokehMe",
        "classical render, and a neural one where that is wrong: the published networks",
        "bokehlib.baselines.bokehme:load",
        weights=("bokehme_arnet.pth", "bokehme_iunet.pth"),
        published="BokehMe",
        colour="#7570b3",
    ),
    "mpib": Method(
        "MPIB",
        "32 planes, each blurred by its own disc: the published networks",
        "bokehlib.baselines.mpib:load",
        weights=("mpib_mpinet.pth", "mpib_aupnet.pth"),
        needs=("cv2",),
        paints=True,
        published="MPIB",
        colour="#e6ab02",
    ),
    "drbokeh": Method(
        "Dr.Bokeh",
        "two layers, occlusion-aware gather; matte from the disparity",
        "bokehlib.baselines.drbokeh:load",
        needs=("cv2",),
        paints=True,
        published="Dr.Bokeh",
        colour="#1b9e77",
    ),
    "deeplens": Method("DeepLens", "early end-to-end network", published="DeepLens"),
    "bokehme-finetuned": Method(
        "BokehMe*",
        "the published weights, tuned on our data",
        "bokehlib.baselines.bokehme:load",
        weights=("bokehme-finetuned.safetensors",),
        published="BokehMe*",
        colour="#7570b3",
    ),
    "bokehme-retrained": Method(
        "BokehMe (retrained)",
        "narrower ARNet and IUNet, from scratch on our data",
        "bokehlib.baselines.bokehme:load",
        weights=("bokehme-retrained.safetensors",),
        colour="#a6a3d9",
    ),
    "mpib-retrained": Method(
        "MPIB (retrained)",
        "narrower MPINet and AUPNet, from scratch on our data",
        "bokehlib.baselines.mpib:load",
        weights=("mpib-retrained.safetensors",),
        needs=("cv2",),
        paints=True,
        colour="#f0d27a",
    ),
    "deeplens-retrained": Method(
        "DeepLens (retrained)",
        "31 kernels for 31 features, guided up-sampling; from scratch on our data",
        "bokehlib.baselines.deeplens:load",
        weights=("deeplens-retrained.safetensors",),
        colour="#e7298a",
    ),
    "restormer-retrained": Method(
        "Restormer*",
        "narrow Restormer that also gets disparity, focus and aperture; from scratch on our data",
        "bokehlib.baselines.restormer:load",
        weights=("restormer-retrained.safetensors",),
        published="Restormer*",
        colour="#66a61e",
    ),
}


def method(name: str) -> Method:
    """A method of `METHODS`, or one of `TRAININGS`, whose adapter is `<name>.safetensors`.

    Raises:
        KeyError: neither.
    """
    if name not in TRAININGS:
        return METHODS[name]
    files = ("mini-base.safetensors", f"{name}.safetensors")
    return Method(name, "a training of Table 2, 2b or 2c", "bokehlib.mini:load", files)


# --- Data sets ------------------------------------------------------------------------------

DATASETS = {  # name -> label in tables
    "synbokeh-mini": "SYNBOKEH-mini (embedded, synthetic)",
    "synbokeh300": "SYNBOKEH300 (rebuilt)",
    "rendered": "path-traced scenes",
    "ebb_val294": "EBB Val294",
    "blb_level5": "BLB level 5",
}
ROBUSTNESS_RADII = (-8, -4, -2, 0, 2, 4, 8)  # px; negative erodes, positive dilates the disparity
ROBUSTNESS_DISTURBANCES = {  # of `disturb.DISTURBANCES` -> label in Fig. 7
    "strands": "strands missing",
    "smoothed": "smoothed edges",
    "coarse": "1/8 resolution",
    "gamma": "to the power 1.5",
}
ROBUSTNESS_BLUR = 2  # the one lens of each scene that the robustness curve uses
SWEEP_RADII = (2, 3, 4, 6, 8, 12, 16, 24, 32, 40)  # px, asked for in the radius sweep
FOCUS_APERTURE = 60.0  # px per unit of disparity, over photographs that are wholly in focus
FOCUS_REGIONS = {  # where sharpness is measured -> column of the table
    "constant": "constant",
    "in focus": "in_focus",
    "in focus, 2 px inside": "in_focus_inside",
    "under near blur": "under_near_blur",
    "blurred": "blurred",
}

STRAND_ERRORS = {  # of the disparity, where the band about strands is measured -> column
    "0": "exact",
    "-4": "eroded_4",
    "4": "dilated_4",
    **{name: name for name in ROBUSTNESS_DISTURBANCES},
}

# --- Probes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """What a worker finds out about a method beside its scores: `scores/<probe>/<method>.csv`."""

    worker: str  # notebook with the parameter "method"
    columns: dict[str, str]  # of the file -> kind
    parameters: dict  # in its stamp
    smoke: dict = field(default_factory=dict)  # those that are others in a smoke run
    dataset: str = ""  # whose pictures take part


PROBES = {
    "radius": Probe(
        "33_radius_sweep",
        {"side": "str"} | dict.fromkeys(("asked", "moment", "edge", "light"), "float64"),
        {"radii": [*SWEEP_RADII]},
        smoke={"radii": [*SWEEP_RADII[:3]]},
    ),
    "focus": Probe(
        "34_focus",
        {"region": "str", "image": "str", "psnr": "float64", "pixels": "int64"},
        {"dataset": "synbokeh-mini", "blur": ROBUSTNESS_BLUR, "aperture": FOCUS_APERTURE},
        dataset="synbokeh-mini",
    ),
    "strands": Probe(
        "36_strands",
        {
            **{"perturbation": "str", "image": "str", "blur": "int64"},
            **{"psnr": "float64", "pixels": "int64"},
        },
        {"dataset": "rendered", "blur": ROBUSTNESS_BLUR, "errors": [*STRAND_ERRORS]},
        smoke={"errors": [*STRAND_ERRORS][::3]},
        dataset="rendered",
    ),
}

# --- Tables and figures ---------------------------------------------------------------------


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

    Where there are ratings, the tables of tests and the figure come with Table 1 (right).
    """

    notebook: str
    parameters: dict = field(default_factory=dict)
    scores: tuple[Scores, ...] = ()
    pictures: str = ""  # folder of results/pictures that a worker fills first
    probes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # probe -> of these methods


EMBEDDED = (  # what runs on every machine
    *("input", "scatter", "layered"),
    *("bokehdiff-mini-paper", "bokehdiff-mini"),
)
_MINI_SCORES = tuple(
    Scores("synbokeh-mini", m) for m in (*EMBEDDED, "drbokeh", "deeplens-retrained")
)
_LORA_SCORES = tuple(  # whole U-Nets are too large to come with the study
    Scores("synbokeh-mini", name, optional=True)
    for name, recipe in TRAININGS.items()
    if not recipe.whole
)
_DISTURBED_SCORES = tuple(
    Scores("synbokeh-mini", m, perturbed=True) for m in (*EMBEDDED[1:], "drbokeh")
)
_RENDERED_SCORES = tuple(
    Scores("rendered", m, perturbed=m != "input", optional=m not in EMBEDDED) for m in METHODS
)
_STRIP = "46_picture_strips"


def _held_by_others(*datasets: str) -> tuple[Scores, ...]:
    """Scores of every method that is ready; the first set comes first: others borrow from it."""
    return tuple(Scores(d, m, optional=m not in EMBEDDED) for d in datasets for m in METHODS)


def _strip(figure: str) -> Artefact:
    return Artefact(_STRIP, {"figure": figure}, pictures=figure)


ARTEFACTS = {
    "tableS2": Artefact("40_quality_tables", {"table": "tableS2"}, _MINI_SCORES),
    "fig7_robustness": Artefact("43_fig7_robustness", {}, _DISTURBED_SCORES),
    "claims": Artefact("48_claims", {}, _DISTURBED_SCORES + _RENDERED_SCORES),
    "radius_sweep": Artefact("47_radius", probes={"radius": EMBEDDED[1:]}),
    "strands": Artefact("53_strands", probes={"strands": EMBEDDED}),
    "in_focus": Artefact("49_in_focus", probes={"focus": EMBEDDED}),
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
    "table1_ratings": Artefact("41_table1_ratings", {"ratings": "real"}),
    "table1_ratings_demo": Artefact("41_table1_ratings", {"ratings": "demo"}),
    "tableS2_rebuilt": Artefact(
        "40_quality_tables", {"table": "tableS2_rebuilt"}, _held_by_others("synbokeh300")
    ),
    "table2_ablation": Artefact("42_ablation_tables", {"table": "table2_ablation"}, _LORA_SCORES),
    "table2b_physics": Artefact("42_ablation_tables", {"table": "table2b_physics"}),
    "table2c_beyond": Artefact("42_ablation_tables", {"table": "table2c_beyond"}),
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
