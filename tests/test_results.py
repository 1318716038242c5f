"""Laws of the files: what is written, what is refused, and what tables make of it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import STAMP, fill, rows, write

from bokehlib import study
from bokehlib.io import places
from bokehlib.study import results, tables

TABLE_NAMES = list(tables.CAPTIONS)


# --- Scores ----------------------------------------------------------------------------------


def test_scores_come_back_as_they_were_written_with_six_digits(tmp_path):
    write(tmp_path, rows(psnr=1 / 3))
    read = results.read_scores(root=tmp_path)
    assert list(read.columns) == results.COLUMNS
    assert (read["psnr"] == 0.333333).all()
    assert read["dists"].isna().all()


def test_equal_pictures_have_infinite_psnr_in_the_file_too(tmp_path):
    write(tmp_path, rows(psnr=np.inf))
    assert np.isinf(results.read_scores(root=tmp_path)["psnr"]).all()


def test_scores_of_a_users_own_folder_are_found_again(tmp_path):
    made = [row | {"dataset": "folder:/my/photos"} for row in rows()]
    results.write_scores(made, STAMP, "folder:/my/photos", "scatter", root=tmp_path)
    assert len(results.read_scores("folder:/my/photos", root=tmp_path)) == len(made)
    assert len(results.read_scores(root=tmp_path)) == len(made)


def test_writing_the_same_scores_twice_or_in_another_order_gives_the_same_bytes(tmp_path):
    write(tmp_path, rows())
    path = tmp_path / "scores/synbokeh-mini/scatter.csv"
    first = path.read_bytes(), path.with_suffix(".json").read_bytes()
    write(tmp_path, rows()[::-1])
    assert first == (path.read_bytes(), path.with_suffix(".json").read_bytes())


def test_a_row_measured_again_replaces_the_old_one_and_leaves_the_others(tmp_path):
    write(tmp_path, rows())
    write(tmp_path, rows(images=("s01",), psnr=40.0))
    read = results.read_scores(root=tmp_path)
    assert len(read) == 4
    assert read.groupby("image")["psnr"].mean().to_dict() == {"s00": 30.0, "s01": 40.0}


def test_perturbed_rows_join_the_exact_ones_and_radii_are_sorted_as_numbers(tmp_path):
    write(tmp_path, rows(blurs=(2,)))
    write(tmp_path, rows(blurs=(2,), radii=(8, -8, 2, -2)), part="perturbed")
    read = results.read_scores(root=tmp_path).query("image == 's00'")
    assert list(read["perturbation"]) == ["-8", "-2", "0", "2", "8"]


def test_named_errors_follow_the_radii_and_leave_rows_and_stamps_of_the_other_parts(tmp_path):
    write(tmp_path, rows(blurs=(2,)))
    write(tmp_path, rows(radii=(2,)), STAMP | {"commit": "b"}, part="perturbed")
    stamp = STAMP | {"commit": "c", "weights_sha256": "new"}
    write(tmp_path, rows(blurs=(2,), radii=("smoothed", "coarse")), stamp, part="disturbed")
    read = results.read_scores(root=tmp_path).query("image == 's00' and blur == 2")
    assert list(read["perturbation"]) == ["0", "2", "coarse", "smoothed"]
    stamps = [
        results.read_stamp("synbokeh-mini", "scatter", part, tmp_path) for part in results.PARTS
    ]
    assert [found["commit"] for found in stamps] == ["a" * 40, "b", "c"]
    write(tmp_path, rows(radii=("gamma",)), stamp | {"data_sha256": "new"}, part="disturbed")
    read = results.read_scores(root=tmp_path)
    assert set(read["perturbation"]) == {"0", "2", "gamma"}  # never of two data sets


def test_what_was_measured_before_the_named_errors_were_added_still_stands():
    old = {"dataset": "d", "method": "m", "smoke": False}
    assert results.score_parameters("d", "m", "exact", smoke=False) == old
    radii = {"radii": [-8, -4, -2, 0, 2, 4, 8], "blur": 2}
    assert results.score_parameters("d", "m", "perturbed", smoke=False) == old | radii
    with pytest.raises(ValueError, match="known: exact, perturbed, disturbed"):
        results.score_parameters("d", "m", "estimated", smoke=False)


@pytest.mark.parametrize("changed", ["weights_sha256", "data_sha256", "parameters"])
def test_a_file_never_mixes_rows_of_two_models_or_data_sets(tmp_path, changed):
    write(tmp_path, rows(blurs=(2,)))
    write(tmp_path, rows(radii=(2,)), part="perturbed")
    write(tmp_path, rows(images=("s07",)), STAMP | {changed: "other"})
    read = results.read_scores(root=tmp_path)
    assert set(read.query("perturbation == '0'")["image"]) == {"s07"}
    assert set(read.query("perturbation == '2'")["image"]) == {"s00", "s01"}


def test_a_run_with_fewer_metrics_never_overwrites_a_fuller_file(tmp_path, capsys):
    write(tmp_path, rows())
    path = tmp_path / "scores/synbokeh-mini/scatter.csv"
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()
    assert write(tmp_path, rows(psnr=99.0, lpips_alex=np.nan)) is False
    assert before == (path.read_bytes(), path.with_suffix(".json").read_bytes())
    assert "lpips_alex" in capsys.readouterr().out


def test_a_run_with_more_metrics_overwrites(tmp_path):
    write(tmp_path, rows())
    assert write(tmp_path, rows(dists=0.2)) is True
    assert (results.read_scores(root=tmp_path)["dists"] == 0.2).all()


@pytest.mark.parametrize(
    ("made", "part"),
    [
        (rows(radii=(2,)), "exact"),
        (rows(radii=(0,)), "perturbed"),
        (rows(radii=("coarse",)), "perturbed"),
        (rows(radii=("coarse", 2)), "disturbed"),
        (rows() + rows(), "exact"),
        (rows() + rows("input"), "exact"),
        (rows(), "approximate"),
    ],
)
def test_rows_that_do_not_belong_into_the_file_are_refused(tmp_path, made, part):
    with pytest.raises(ValueError, match=r"part|rows"):
        write(tmp_path, made, part=part)
    assert not (tmp_path / "scores").exists()


def test_scores_stand_only_with_the_same_weights_data_and_parameters(tmp_path):
    write(tmp_path, rows())

    def stands(weights="w", data="d", parameters=STAMP["parameters"], part="exact"):
        hashes = (weights, data, parameters)
        return results.scores_stand("synbokeh-mini", "scatter", part, *hashes, tmp_path)

    assert stands()
    assert not stands(weights="x")
    assert not stands(data="x")
    assert not stands(parameters={"n": 2})
    assert not stands(part="perturbed")
    assert not stands(part="disturbed")
    (tmp_path / "scores/synbokeh-mini/scatter.csv").unlink()
    assert not stands()


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.csv"
    path.write_text("old")

    def interrupted():
        with results.replacing(path) as temporary:
            temporary.write_text("half of the ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_stamp_names_what_made_the_numbers_and_no_machine():
    stamp = results.stamp({"n": 1}, 0, "w", "d", "cpu", 1.26)
    assert stamp["versions"]["torch"]
    assert stamp["wall_seconds"] == 1.3
    assert json.loads(json.dumps(stamp)) == stamp
    assert str(places.ROOT.parent) + "/" not in json.dumps(stamp)


def test_rows_from_different_commits_are_announced_and_others_are_not(tmp_path):
    write(tmp_path, rows())
    assert results.mixed_commits(results.read_scores(root=tmp_path), tmp_path) == ""
    write(tmp_path, rows("input"), STAMP | {"commit": "b" * 40})
    line = results.mixed_commits(results.read_scores(root=tmp_path), tmp_path)
    assert "aaaaaaaaaa" in line
    assert "bbbbbbbbbb" in line


def test_results_go_where_they_are_sent():
    assert results.resolve() == results.RESULTS
    assert results.resolve(smoke=True) == results.RESULTS / "runs" / "smoke"
    assert results.resolve("/tmp/elsewhere", smoke=True).as_posix() == "/tmp/elsewhere"
    assert results.resolve("mine") == Path.cwd() / "mine"


# --- The paper's numbers ---------------------------------------------------------------------


def test_every_number_of_the_papers_tables_is_there_once():
    numbers = results.published()
    counts = numbers["table"].value_counts().to_dict()
    assert counts == {
        "table1_quality": 7 * 7,
        "table1_ratings": 7 * 3,
        "table2_ablation": 10 * 3,
        "tableS1": 7 * 9,
        "tableS2": 7 * 4,
    }
    assert not numbers.duplicated(["table", "dataset", "method", "metric"]).any()
    assert numbers["value"].notna().all()


@pytest.mark.parametrize(
    ("table", "dataset", "method", "metric", "value"),
    [
        ("table1_quality", "ebb_val294", "BokehDiff", "dists", 0.1155),
        ("table1_quality", "blb_level5", "Restormer*", "lpips", 0.7802),
        ("table1_quality", "blb_level5", "BokehMe", "psnr", 38.802),
        ("table1_ratings", "user_study", "BokehMe*", "preference", 3.48),
        ("table2_ablation", "ebb_val294", "w/o CoC", "ssim", 0.6881),
        ("tableS1", "ebb_val294", "Dr.Bokeh", "seconds", 99.67),
        ("tableS1", "ebb_val294-original", "BokehDiff", "ssim", 0.8390),
        ("tableS2", "synbokeh300", "BokehMe*", "dists", 0.0641),
    ],
)
def test_published_numbers_are_the_papers(table, dataset, method, metric, value):
    numbers = results.published(table)
    found = numbers.query("dataset == @dataset and method == @method and metric == @metric")
    assert list(found["value"]) == [value]


def test_the_aligned_half_of_table_s1_repeats_table_1():
    key = ["method", "metric"]
    one = results.published("table1_quality").query("dataset == 'ebb_val294'")
    two = results.published("tableS1").query("dataset == 'ebb_val294' and metric != 'seconds'")
    assert one.set_index(key)["value"].to_dict() == two.set_index(key)["value"].to_dict()


def test_every_published_method_is_one_that_the_study_knows():
    known = {method.published for method in study.METHODS.values()}
    known |= set(study.ABLATION_LABELS.values())
    assert set(results.published()["method"]) <= known


# --- Tables ----------------------------------------------------------------------------------


def build(name, scores, benchmark=tables.NO_SPEED, focus=tables.NO_FOCUS, fitted=tables.NO_FITTED):
    return tables.build(name, scores, results.published(name), benchmark, focus, fitted)


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_without_scores_no_number_of_ours_appears_anywhere(tmp_path, name):
    frame = build(name, results.read_scores(root=tmp_path))
    ours = [c for c in frame if c not in (*tables.WORDS, "images") and not c.endswith("_paper")]
    assert frame[ours].isna().all(axis=None)
    assert (frame.get("images", pd.Series(0)) == 0).all()
    assert "not run" in tables.markdown(frame, name)
    assert "nan" not in (tables.markdown(frame, name) + tables.latex(frame, name)).lower()


def test_ours_are_means_over_the_exact_pictures_and_the_papers_number_stands_beside(tmp_path):
    fill(tmp_path)
    write(tmp_path, rows(images=("s00",), blurs=(0,), psnr=34.0))  # one of eight: 26 -> 27
    frame = build("tableS2", results.read_scores(root=tmp_path)).set_index("method")
    assert frame.loc["Scatter", "psnr"] == 27.0
    assert frame.loc["Scatter", "images"] == 8
    assert np.isnan(frame.loc["Scatter", "psnr_paper"])
    assert frame.loc["BokehDiff-mini (paper)", ["psnr", "psnr_paper"]].tolist() == [28.0, 34.165]
    assert np.isnan(frame.loc["MPIB", "psnr"])


def test_a_metric_that_was_not_computed_reads_not_run_beside_those_that_were(tmp_path):
    fill(tmp_path)
    shown = tables.markdown(build("tableS2", results.read_scores(root=tmp_path)), "tableS2")
    line = next(line for line in shown.splitlines() if "| Scatter " in line)
    assert "26.000" in line
    assert "not run" in line


def test_the_best_of_ours_is_bold_and_no_number_of_the_paper_is(tmp_path):
    fill(tmp_path)
    frame = build("tableS2", results.read_scores(root=tmp_path))
    shown = tables.markdown(frame, "tableS2")
    assert "**29.000**" in shown
    assert "**28.000**" not in shown
    assert "**34.165**" not in shown
    assert r"\textbf{29.000}" in tables.latex(frame, "tableS2")


def test_rows_of_the_ablation_stand_in_the_papers_order(tmp_path):
    frame = build("table2_ablation", results.read_scores(root=tmp_path))
    paper = results.published("table2_ablation").query("metric == 'psnr'")
    assert list(frame["setting"]) == list(paper["method"])
    assert list(frame["psnr_paper"]) == list(paper["value"])


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_committed_tables_follow_from_committed_scores(tmp_path, name):
    scores = results.read_scores()
    if scores.empty or not (results.RESULTS / "tables" / f"{name}.csv").exists():
        pytest.skip("no committed scores or tables yet")
    benchmark, stamp = results.read_speed()
    focus = results.read_probe("focus")
    notes = {"speed": tables.measured_on(stamp), "in_focus": tables.pictures_in(focus)}
    frame = tables.build(
        *(name, scores, results.published(name), benchmark, focus),
        *(results.read_fitted(), results.read_probe("strands")),
        copies=results.read_probe("latents"),
        light=results.read_probe("origins"),
    )
    if name == "latents":
        notes[name] = tables.trained_how(results.read_stamp("latents", m) for m in study.LATENTS)
    if name == "origins":
        notes[name] = tables.credited(frame)
    if name in tables.QUALITY:
        notes[name] = tables.not_measured(frame)
    results.write_table(frame, name, tmp_path, notes.get(name, ""))
    for suffix in (".csv", ".md", ".tex"):
        file = f"tables/{name}{suffix}"
        assert (tmp_path / file).read_text() == (results.RESULTS / file).read_text(), file
