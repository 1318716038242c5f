"""Laws of the table that compares every method with the classical renderer."""

import numpy as np
import pytest
from made_up import rows
from test_tables import frame

from bokehlib import study
from bokehlib.study import tables
from bokehlib.study.statistics import paired_difference

MINI, RIVAL = "bokehdiff-mini", "scatter"
LABEL = study.METHODS[MINI].label
LENS = study.ROBUSTNESS_BLUR
SCENES = tuple(f"scene_{number:02d}" for number in range(24))
LAMPS = SCENES[::3]  # how the benchmark was chosen


def exact(method, psnr, scenes=SCENES, **metrics):
    return rows(method, scenes, range(4), psnr=psnr, **metrics)


def wrong(method, eroded, dilated, scenes=SCENES):
    return [
        *rows(method, scenes, (LENS,), (-4,), psnr=eroded),
        *rows(method, scenes, (LENS,), (4,), psnr=dilated),
    ]


def claims(*made, dataset="synbokeh-mini"):
    """The table's rows by (disparity, scenes)."""
    table = tables.claims(frame(*made), dataset)
    assert set(table["method"]) == {study.METHODS[m].label for m in study.EMBEDDED[2:]}
    return table[table["method"] == LABEL].set_index(["disparity", "scenes"])


# --- Exact disparity -------------------------------------------------------------------------


def test_scenes_with_and_without_clipped_lamps_are_told_apart():
    without = [scene for scene in SCENES if scene not in LAMPS]
    mine = exact(MINI, 33.0, without) + exact(MINI, 27.0, LAMPS)
    table = claims(mine, exact(RIVAL, 30.0)).loc["exact"]
    assert list(table.index) == ["no clipped lamps", "clipped lamps", "all"]
    assert table["psnr_difference"].tolist() == pytest.approx([3, -3, 1])
    assert table["psnr_method"].tolist() == pytest.approx([33, 27, 31])
    assert table["psnr_scatter"].tolist() == [30] * 3
    assert table["psnr_verdict"].tolist()[:2] == ["better", "worse"]
    assert table["images"].tolist() == [64, 32, 96]


def test_the_interval_is_that_of_paired_differences_clustered_by_scene():
    rng = np.random.default_rng(0)
    luck = {scene: rng.normal() for scene in SCENES}
    mine = [row | {"psnr": 30 + luck[row["image"]] + rng.normal()} for row in exact(MINI, 0)]
    gains = [row["psnr"] - 30 for row in mine]
    wanted = paired_difference(gains, [0] * len(gains), [row["image"] for row in mine])
    found = claims(mine, exact(RIVAL, 30.0)).loc[("exact", "all")]
    shown = found[["psnr_difference", "psnr_low", "psnr_high"]].tolist()
    assert shown == pytest.approx(list(wanted[:3]))
    assert found["psnr_verdict"] == wanted.verdict


def test_lpips_is_compared_in_percent_of_the_classical_renderers_and_less_is_better():
    mine, rival = exact(MINI, 30.0, lpips_alex=0.15), exact(RIVAL, 30.0, lpips_alex=0.2)
    found = claims(mine, rival).loc[("exact", "all")]
    assert found["lpips_percent"] == pytest.approx(-25)
    assert found["lpips_verdict"] == "better"
    assert found["psnr_verdict"] == "no difference shown"


def test_only_pictures_that_both_have_count_in_the_means_too():
    mine = exact(MINI, 31.0, SCENES[1:]) + exact(MINI, 99.0, ("another",))
    found = claims(mine, exact(RIVAL, 30.0)).loc[("exact", "all")]
    assert found[["psnr_method", "psnr_scatter", "images"]].tolist() == [31, 30, 92]


def test_another_data_set_has_no_rows_by_lamps():
    made = [row | {"dataset": "rendered"} for row in exact(MINI, 31.0) + exact(RIVAL, 30.0)]
    table = claims(made, dataset="rendered")
    assert table.loc["exact"].index.tolist() == ["all"]
    assert table.loc[("exact", "all"), "psnr_difference"] == pytest.approx(1)


# --- Wrong disparity -------------------------------------------------------------------------


def test_a_loss_is_against_the_methods_own_exact_scores_of_the_same_lens():
    others = (0, 1, 3)
    mine = rows(MINI, SCENES, (LENS,), psnr=30.0) + rows(MINI, SCENES, others, psnr=10.0)
    rival = rows(RIVAL, SCENES, (LENS,), psnr=32.0) + rows(RIVAL, SCENES, others, psnr=50.0)
    table = claims(mine, rival, wrong(MINI, 28.0, 29.0), wrong(RIVAL, 26.0, 31.0))
    table = table.loc[["±4 px", "eroded 4 px", "dilated 4 px"]]
    assert table["psnr_method"].tolist() == [28.5, 28, 29]
    assert table["psnr_scatter"].tolist() == [28.5, 26, 31]
    assert table["psnr_difference"].tolist() == pytest.approx([0, 2, -2])
    assert table["loss_method"].tolist() == pytest.approx([1.5, 2, 1])
    assert table["loss_scatter"].tolist() == pytest.approx([3.5, 6, 1])
    assert table["images"].tolist() == [24] * 3


def test_the_mean_of_both_signs_needs_both():
    eroded = [row for row in wrong(MINI, 28.0, 29.0) if row["perturbation"] < 0]
    table = claims(exact(MINI, 30.0), exact(RIVAL, 30.0), eroded, wrong(RIVAL, 26.0, 31.0))
    assert table.loc[("eroded 4 px", "all"), "psnr_method"] == 28
    assert np.isnan(table.loc[("±4 px", "all"), "psnr_method"])


# --- Text ------------------------------------------------------------------------------------


def shown(*made):
    lines = tables.markdown(tables.claims(frame(*made), "synbokeh-mini"), "claims").splitlines()
    return {tuple(c.strip() for c in line.split("|")[3:5]): line for line in lines if "|" in line}


def test_rows_that_were_not_measured_say_so():
    lines = shown(exact(MINI, 31.0), exact(RIVAL, 30.0))
    assert "+1.00 [+1.00, +1.00] better" in lines["exact", "all"]
    assert "not run" not in lines["exact", "all"]
    assert lines["±4 px", "all"].count("not run") == 6
    assert shown(exact(MINI, 31.0))["exact", "all"].count("not run") == 6


def test_every_measured_method_but_the_input_is_compared(monkeypatch):
    monkeypatch.setitem(study.METHODS, "new", study.Method("New", "a renderer"))
    made = frame(*(exact(name, 30.0) for name in ("input", RIVAL, "new")))
    assert tables.claims(made)["method"].unique().tolist() == [
        *(study.METHODS[name].label for name in study.EMBEDDED[2:]),
        "New",
    ]
