"""What is measured: data sets, wrong disparities, and what probes ask beside the scores."""

from dataclasses import dataclass, field

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
ORIGINS = ("in focus", "smooth blur", "visible edge", "hidden background")  # of a pixel's light
ORIGIN_SHARE = 0.05  # of a pixel's light; less of it does not decide the origin
FROM_THE_PRIOR = ORIGINS[2:]  # where a prior is credited for what it gains

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
        "",  # python -m bokehlib.latents
        {
            **{"what": "str", "image": "str", "blur": "int64"},
            **{"psnr": "float64", "lpips_alex": "float64"},
        },
        {},
        dataset="synbokeh-mini",
    ),
}
