"""Whatever turns (image, disparity, lens) into a picture; a rival is one line and one file."""

from dataclasses import dataclass

from bokehlib.study.trainings import TRAININGS


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
    "restormer": Method(
        "Restormer*", "the paper's training of it, which was not released", published="Restormer*"
    ),
    "restormer-retrained": Method(
        "Restormer (retrained)",
        "narrow Restormer that also gets disparity, focus and aperture; from scratch on our data",
        "bokehlib.baselines.restormer:load",
        weights=("restormer-retrained.safetensors",),
        colour="#66a61e",
    ),
}

TRAINABLE_BASELINES = tuple(
    name for name, m in METHODS.items() if m.loader and m.weights == (f"{name}.safetensors",)
)


def method(name: str) -> Method:
    """A method of `METHODS`, or one of `TRAININGS`, whose adapter is `<name>.safetensors`.

    Raises:
        KeyError: neither.
    """
    if name not in TRAININGS:
        return METHODS[name]
    files = ("mini-base.safetensors", f"{name}.safetensors")
    return Method(name, "a training of Table 2, 2b or 2c", "bokehlib.mini:load", files)
