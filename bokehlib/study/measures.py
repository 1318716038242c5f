"""What is measured: data sets, wrong disparities, and what probes ask beside the scores."""

from dataclasses import dataclass, field

from bokehlib.evaluation.protocol import (
    FOCUS_APERTURE,
    ORIGIN_SHARE,
    ROBUSTNESS_BLUR,
    STRAND_ERRORS,
    SWEEP_RADII,
)

# --- Probes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """What a worker finds out about a method beside its scores: `scores/<probe>/<method>.csv`."""

    worker: str  # notebook with the parameter "method"; "" = a command of its own writes it
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
    "origins": Probe(
        "37_origins",
        {
            **{"origin": "str", "image": "str", "blur": "int64"},
            **{"psnr": "float64", "pixels": "int64"},
        },
        {"dataset": "synbokeh-mini", "share": ORIGIN_SHARE},
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
    "latents": Probe(
        "",  # the command `train latents`
        {
            **{"what": "str", "image": "str", "blur": "int64"},
            **{"psnr": "float64", "lpips_alex": "float64"},
        },
        {},
        dataset="synbokeh-mini",
    ),
}
