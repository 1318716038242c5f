"""Tables 1 and S1: what is measured on published sets, and how it was measured."""

import json

import miniatures
import numpy as np
import pandas as pd
import pytest
from cells import execute

from bokehlib import data
from bokehlib.io.errors import InputError
from bokehlib.study import results, scoring, tables
from bokehlib.study.provenance import provenance

GROUPS = ["ebb_val294", "ebb_val294-original-borrowed", "ebb_val294-original"]


def leave(root, dataset, method="scatter", psnr=30.0, fitted=None, left_out=0, smoke=False):
    row = {"dataset": dataset, "image": "4690", "method": method, "blur": 0, "psnr": psnr}
    asked = results.score_parameters(dataset, method, "exact", smoke)
    made_by = provenance(asked, 0, "w", "d", "cpu")
    made_by |= {"fitted": fitted or {}, "left_out": left_out}
    results.write_scores([row | {"perturbation": 0}], made_by, dataset, method, root=root)


def build(name, root):
    return execute("40_quality", root, table=name)["frame"]


def test_table_s1_has_three_groups_and_the_one_never_printed_has_no_number_of_the_papers(tmp_path):
    for shift, dataset in enumerate(GROUPS):
        leave(tmp_path, dataset, psnr=20.0 + shift)
    frame = build("tableS1", tmp_path)
    assert list(frame["dataset"].unique()) == GROUPS
    first, borrowed, own = (frame[frame["dataset"] == group] for group in GROUPS)
    assert list(first["method"]) == list(borrowed["method"]) == list(own["method"])
    assert [g["psnr"].max() for g in (first, borrowed, own)] == [20, 21, 22]
    assert borrowed.filter(like="_paper").isna().all(axis=None)
    assert first["psnr_paper"].max() == 24.652
    assert own["psnr_paper"].max() == 23.728


def test_aperture_cross_figure_and_what_was_left_out_stand_in_the_row(tmp_path):
    fitted = {"aperture": 23.45, "crossed_ssim": 0.8123}
    leave(tmp_path, "ebb_val294", fitted=fitted, left_out=3)
    leave(tmp_path, "blb_level5", left_out=1)
    frame = build("table1_quality", tmp_path).query("method == 'Scatter'").set_index("dataset")
    columns = ["aperture", "ssim_crossed", "left_out", "images"]
    assert frame.loc["ebb_val294", columns].tolist() == [23.45, 0.8123, 3, 1]
    assert frame.loc["blb_level5", ["left_out", "images"]].tolist() == [1, 1]
    leave(tmp_path, "ebb_val294", "input", fitted=fitted)
    shown = tables.display(build("table1_quality", tmp_path)).query("Method == 'Scatter'")
    assert shown["Aperture, px"].tolist() == ["23.45", "–"]
    assert shown["SSIM, cross-selected ↑"].tolist() == ["0.8123", "–"]
    assert shown["Left out"].tolist() == ["3", "1"]
    shown = tables.display(build("table1_quality", tmp_path)).query("Method == 'Input'")
    assert shown["Aperture, px"].tolist() == ["–", "not run"]


def test_a_set_that_was_not_measured_is_one_sentence_and_not_run_rows(tmp_path):
    shown = tables.display(build("table1_quality", tmp_path))
    assert (shown[["PSNR ↑", "Aperture, px", "Left out"]] == "not run").all(axis=None)
    said = []
    for dataset in ("ebb_val294", "blb_level5", ""):
        build("table1_quality", tmp_path)
        text = (tmp_path / "tables" / "table1_quality.md").read_text()
        said.append(text.rpartition("are missing: ")[2].partition(";")[0])
        if dataset:
            leave(tmp_path, dataset)
    assert said[:2] == ["EBB Val294 and BLB level 5", "BLB level 5"]
    assert "Not measured" not in text


# --- The aperture of another set ------------------------------------------------------------


def borrow(root, monkeypatch, weights="w", found="d"):
    monkeypatch.setattr(scoring.data, "data_hash", lambda name: found)
    asked = results.score_parameters(GROUPS[1], "scatter", "exact", False)
    return scoring.choose(None, [], asked, weights, "cpu", root)


def test_the_borrowed_aperture_is_that_of_the_aligned_set(tmp_path, monkeypatch):
    leave(tmp_path, "ebb_val294", fitted={"aperture": 23.45})
    leave(tmp_path, "ebb_val294-original", fitted={"aperture": 99.0})
    assert borrow(tmp_path, monkeypatch) == {"aperture": 23.45, "borrowed_from": "ebb_val294"}


def test_an_aperture_of_other_weights_or_data_is_not_borrowed(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"found no scores on ebb_val294 .*accepted: a run on tha"):
        borrow(tmp_path, monkeypatch)
    leave(tmp_path, "ebb_val294", fitted={"aperture": 5.0}, smoke=True)
    with pytest.raises(InputError, match="found no scores on ebb_val294"):
        borrow(tmp_path, monkeypatch)
    leave(tmp_path, "ebb_val294", fitted={"aperture": 23.45})
    for other in ({"weights": "new"}, {"found": "new"}):
        with pytest.raises(InputError, match="found no scores on ebb_val294"):
            borrow(tmp_path, monkeypatch, **other)


def test_the_stamp_says_by_which_protocol_a_set_was_measured():
    asked = {name: results.score_parameters(name, "m", "exact", False) for name in data.PUBLISHED}
    assert asked["ebb_val294"]["exposure"] == "channels"
    assert asked["ebb_val294"]["search"] == [2, 200, 12, 8]
    assert asked["ebb_val294-original-borrowed"]["aperture"] == "ebb_val294"
    assert asked["blb_level5"]["aperture"] == "known"
    assert "search" not in asked["blb_level5"]


# --- From the files to the table ------------------------------------------------------------


@pytest.fixture
def sets(tmp_path, monkeypatch):
    monkeypatch.setenv("BOKEHLIB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def run(root, notebook, **parameters):
    return execute(notebook, root, smoke=True, **parameters)


def test_table_s1_is_measured_over_a_miniature_copy(tmp_path, sets):
    miniatures.truncate(
        miniatures.write_ebb(sets / "ebb_val294") / "Training" / "bokeh" / "4690.jpg"
    )
    for dataset in GROUPS[:2]:
        run(tmp_path, "35_score_published", method="scatter", dataset=dataset)
    run(tmp_path, "40_quality", table="tableS1")
    stamp = json.loads((tmp_path / "scores" / GROUPS[0] / "scatter.json").read_text())
    assert stamp["faults"][0].startswith("truth: Training/bokeh/4690.jpg: found a broken")
    table = pd.read_csv(tmp_path / "tables" / "tableS1.csv").query("method == 'Scatter'")
    table = table.set_index("dataset")
    assert table["images"].tolist() == [1, 1, 0]
    assert table["left_out"].tolist()[:2] == [1, 1]
    assert table["aperture"][GROUPS[0]] == table["aperture"][GROUPS[1]]
    assert np.isnan(table["aperture"][GROUPS[2]])
    assert table["psnr"][GROUPS[0]] > table["psnr"][GROUPS[1]]  # aligned exposure


def test_what_cannot_be_read_of_blb_is_counted_in_the_table_and_the_rest_is_scored(tmp_path, sets):
    blb = miniatures.write_blb(sets / "blb_level5")
    info = blb / "277" / "info.json"
    info.write_text(json.dumps({"focus_distances": [*miniatures.FOCUSES]}))
    miniatures.truncate(blb / "280" / "bokeh_04_01.exr")
    run(tmp_path, "35_score_published", method="scatter", dataset="blb_level5")
    stamp = json.loads((tmp_path / "scores" / "blb_level5" / "scatter.json").read_text())
    key, truth = stamp["faults"]
    assert key.startswith('277/info.json: key "blur_parameters": found nothing')
    assert "280/bokeh_04_01.exr: found a broken or truncated file" in truth
    row = build("table1_quality", tmp_path).query("method == 'Scatter'").set_index("dataset")
    assert row.loc["blb_level5", ["images", "left_out"]].tolist() == [1, 3 + 1]
    assert row.loc["blb_level5", "psnr"] > 0


def test_the_worker_says_that_a_set_is_missing_and_writes_nothing(tmp_path, sets, capsys):
    run(tmp_path, "35_score_published", dataset="blb_level5")
    assert "blb_level5: not here; accepted: a folder of that name" in capsys.readouterr().out
    assert not (tmp_path / "scores").exists()
