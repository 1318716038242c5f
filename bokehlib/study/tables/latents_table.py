"""What does the latent space cost? Each latent's reconstruction, and its lens blur."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from bokehlib import study
from bokehlib.study.tables.measured import differences, pairs

_KINDS = {"method": "str", **study.PROBES["latents"].columns}
NO_LATENTS = pd.DataFrame(columns=[*_KINDS]).astype(_KINDS)
METRICS = ["psnr", "lpips_alex"]
COMPARED_WITH = next(name for name, one in study.LATENTS.items() if one == study.EMBEDDED_LATENT)


def latents(copies: pd.DataFrame) -> pd.DataFrame:
    """A row a latent of `study.LATENTS`: how photographs come back, and how lens blur is rendered.

    Differences are of the rendered pictures, to the embedded model's latent.

    Args:
        copies: as read by `results.read_probe("latents")`.
    """
    photos, blurred = (copies[copies["what"] == what] for what in ("reconstruction", "bokeh"))
    means = [rows.groupby("method")[METRICS].mean() for rows in (photos, blurred)]
    own, ours = (mean.reindex([*study.LATENTS]).reset_index(drop=True) for mean in means)
    table = pd.DataFrame(
        {
            "latent": [latent.label for latent in study.LATENTS.values()],
            "kept": [f"{latent.share:.0%}" for latent in study.LATENTS.values()],
            **{f"{metric}_copy": own[metric] for metric in METRICS},
            **{metric: ours[metric] for metric in METRICS},
        }
    )
    blurred = blurred.assign(perturbation="0")
    of = {name: blurred[blurred["method"] == name] for name in study.LATENTS}
    rivals = dict.fromkeys(of, of[COMPARED_WITH]) | {COMPARED_WITH: blurred.head(0)}
    found = pd.DataFrame(differences(pairs(of[name], rivals[name])) for name in of)
    return pd.concat([table, found], axis=1).assign(images=[len(rows) for rows in of.values()])


def trained_how(stamps: Iterable[dict[str, Any]]) -> str:
    """What was trained for how long and where, for the caption; "" without measurements.

    Args:
        stamps: of the measured latents, as read by `results.read_provenance`.
    """
    sentences = dict.fromkeys(_sentence(stamp) for stamp in stamps if stamp)
    return " ".join(sentences)


def _sentence(stamp: dict[str, Any]) -> str:
    how = stamp["parameters"]
    return (
        f"From nothing, on {stamp['device']}: autoencoder {how['autoencoder_steps']:,} steps of "
        f"{how['crops']} crops of {how['crop']} px, prior {how['prior_steps']:,} such steps, "
        f"one-step model {how['one_step_steps']:,} steps of {how['pairs']} pairs."
    )
