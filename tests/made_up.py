"""Made-up scores, rating sheets and pictures for the tests."""

import numpy as np

from bokehlib import study
from bokehlib.extras.user_study.page import Case
from bokehlib.extras.user_study.ratings import ASPECTS, Key
from bokehlib.study import results

STAMP = {"commit": "a" * 40, "weights_sha256": "w", "data_sha256": "d", "parameters": {"n": 1}}


def rows(method="scatter", images=("s00", "s01"), blurs=(0, 2), radii=(0,), **metrics):
    values = {"psnr": 30.0, "ssim": 0.9, "lpips_alex": 0.1, "lpips_squeeze": 0.1} | metrics
    key = {"dataset": "synbokeh-mini", "method": method}
    return [
        key | {"image": image, "blur": blur, "perturbation": radius, "seconds": 0.5} | values
        for image in images
        for blur in blurs
        for radius in radii
    ]


def write(root, made, stamp=STAMP, part="exact"):
    return results.write_scores(made, stamp, "synbokeh-mini", made[0]["method"], part, root)


def fill(root):
    """Scores of all embedded methods, exact and perturbed."""
    for shift, method in enumerate(study.EMBEDDED):
        write(root, rows(method, blurs=range(4), psnr=25.0 + shift, ssim=0.9))
        for radius in (-2, 2):
            write(root, rows(method, blurs=(2,), radii=(radius,), psnr=24.0), part="perturbed")


STUDY_KEY = Key(
    *("study", "A made-up study", "drawn", 1),
    {case: {"101": "scatter", "102": "drbokeh"} for case in ("c1", "c2", "c3")},
)


def sheet(rater, opinions=None, session="", check="4", time="2026-01-01T10:00:00Z"):
    """Rows of a rating sheet for `STUDY_KEY`, a case an aspect; `opinions`: method -> rating."""
    opinions = opinions or {"scatter": 3, "drbokeh": 4}
    person = {"study": "study", "rater": rater, "session": session or rater, "experience": "year"}
    pictures = [
        {"case": case, "aspect": aspect, "result": code, "rating": f"{opinions[method]:.0f}"}
        for (case, codes), aspect in zip(STUDY_KEY.cases.items(), ASPECTS, strict=True)
        for code, method in codes.items()
    ]
    asked = {"case": "c1", "aspect": "check", "result": "choose 4", "rating": check}
    return [
        person | {"screen": f"{number}", "time": time, "place": "1", "seconds": "2.5"} | row
        for number, row in enumerate([*pictures, asked], start=1)
    ]


def cases(names=("c1", "c2"), methods=("scatter", "drbokeh", "mpib"), size=(32, 48), seed=0):
    """Cases of a user study: random pictures."""
    rng = np.random.default_rng(seed)
    return [
        Case(n, rng.random((*size, 3)), {m: rng.random((*size, 3)) for m in methods}) for n in names
    ]
