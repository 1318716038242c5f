"""Laws of the files of results: what is kept, what is replaced, what is refused."""

import json

import numpy as np
import pytest
from made_up import STAMP, fill, rows, write

from bokehlib import study
from bokehlib.io.places import RESULTS, ROOT
from bokehlib.study import results
from bokehlib.study.provenance import provenance

# --- Scores ----------------------------------------------------------------------------------


def test_scores_come_back_as_they_were_written_with_six_digits(tmp_path):
    write(tmp_path, [rows(psnr=1 / 3)[0], *rows(psnr=np.inf)[1:]])
    read = results.read_scores(root=tmp_path)
    assert list(read.columns) == results.COLUMNS
    assert read["psnr"].tolist() == [0.333333, np.inf, np.inf, np.inf]
    assert read["dists"].isna().all()


def test_scores_of_a_users_own_folder_are_found_again(tmp_path):
    made = [row | {"dataset": "folder:/my/photos"} for row in rows()]
    results.write_scores(made, STAMP, "folder:/my/photos", "scatter", root=tmp_path)
    assert len(results.read_scores("folder:/my/photos", root=tmp_path)) == len(made)
    assert len(results.read_scores(root=tmp_path)) == len(made)


def contents(root):
    path = root / "scores/synbokeh-mini/scatter.csv"
    return path.read_bytes(), path.with_suffix(".json").read_bytes()


def test_writing_the_same_scores_twice_or_in_another_order_gives_the_same_bytes(tmp_path):
    write(tmp_path, rows())
    first = contents(tmp_path)
    write(tmp_path, rows()[::-1])
    assert first == contents(tmp_path)


def test_committed_scores_are_read_and_written_with_the_same_bytes(tmp_path):
    for path in sorted(RESULTS.glob("scores/synbokeh-mini/*.csv")):
        dataset, method = path.parent.name, path.stem
        read = results.read_scores(dataset, method)
        for part in results.PARTS:
            own = read[results._parts(read["perturbation"]) == part]
            if len(own):
                made_by = results.read_provenance(dataset, method, part)
                made = own.to_dict("records")
                results.write_scores(made, made_by, dataset, method, part, tmp_path)
        copy = tmp_path / path.relative_to(RESULTS)
        assert copy.read_bytes() == path.read_bytes()
        copied, committed = (p.with_suffix(".json").read_text() for p in (copy, path))
        assert json.loads(copied) == json.loads(committed)


def test_a_row_measured_again_replaces_the_old_one_and_leaves_the_others(tmp_path):
    write(tmp_path, rows())
    write(tmp_path, rows(images=("s01",), psnr=40.0))
    read = results.read_scores(root=tmp_path)
    assert len(read) == 4
    assert read.groupby("image")["psnr"].mean().to_dict() == {"s00": 30.0, "s01": 40.0}


def test_parts_join_in_one_file_in_order_and_keep_their_own_provenance(tmp_path):
    write(tmp_path, rows(blurs=(2,)))
    write(tmp_path, rows(blurs=(2,), radii=(8, -8, 2)), STAMP | {"commit": "b"}, part="perturbed")
    made_by = STAMP | {"commit": "c", "weights_sha256": "new"}
    write(tmp_path, rows(blurs=(2,), radii=("smoothed", "coarse")), made_by, part="disturbed")
    read = results.read_scores(root=tmp_path).query("image == 's00'")
    assert list(read["perturbation"]) == ["-8", "0", "2", "8", "coarse", "smoothed"]
    write(tmp_path, rows(blurs=(2,)), STAMP | {"commit": "d"})
    of_parts = [
        results.read_provenance("synbokeh-mini", "scatter", part, tmp_path)["commit"]
        for part in results.PARTS
    ]
    assert of_parts == ["d", "b", "c"]


def test_what_was_measured_before_the_named_errors_were_added_is_up_to_date():
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


def test_a_run_with_fewer_metrics_never_overwrites_a_fuller_file_but_one_with_more(
    tmp_path, capsys
):
    write(tmp_path, rows())
    before = contents(tmp_path)
    assert write(tmp_path, rows(psnr=99.0, lpips_alex=np.nan)) is False
    assert before == contents(tmp_path)
    assert "lpips_alex" in capsys.readouterr().out
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


def test_scores_are_up_to_date_only_with_the_same_weights_data_and_parameters(tmp_path):
    write(tmp_path, rows())

    def current(weights="w", data="d", parameters=STAMP["parameters"], part="exact"):
        hashes = (weights, data, parameters)
        return results.is_up_to_date("synbokeh-mini", "scatter", part, *hashes, tmp_path)

    assert current()
    assert not current(weights="x")
    assert not current(data="x")
    assert not current(parameters={"n": 2})
    assert not current(part="perturbed")
    (tmp_path / "scores/synbokeh-mini/scatter.csv").unlink()
    assert not current()


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


def test_provenance_names_what_made_the_numbers_and_no_machine():
    made_by = provenance({"n": 1}, 0, "w", "d", "cpu", 1.26)
    assert made_by["versions"]["torch"]
    assert made_by["wall_seconds"] == 1.3
    assert json.loads(json.dumps(made_by)) == made_by
    assert str(ROOT.parent) + "/" not in json.dumps(made_by)


def test_rows_from_different_commits_are_announced_and_others_are_not(tmp_path):
    write(tmp_path, rows())
    assert results.mixed_commits(results.read_scores(root=tmp_path), tmp_path) == ""
    write(tmp_path, rows("input"), STAMP | {"commit": "b" * 40})
    line = results.mixed_commits(results.read_scores(root=tmp_path), tmp_path)
    assert "aaaaaaaaaa" in line
    assert "bbbbbbbbbb" in line


def test_results_go_where_they_are_sent():
    assert results.resolve() == RESULTS
    assert results.resolve(smoke=True) == RESULTS / "runs" / "smoke"
    assert results.resolve("/tmp/elsewhere", smoke=True).as_posix() == "/tmp/elsewhere"


def test_a_table_written_twice_has_the_same_bytes(tmp_path):
    fill(tmp_path)
    read = results.read_scores(root=tmp_path).drop(columns=["image", "blur", "perturbation"])
    for folder in ("one", "two"):
        results.write_table(read, "t", tmp_path / folder, "Caption.")
    one, two = (sorted((tmp_path / f / "tables").iterdir()) for f in ("one", "two"))
    assert [path.suffix for path in one] == [".csv", ".md", ".tex"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert one[1].read_text().endswith("\n\nCaption.\n")


# --- The paper's numbers ---------------------------------------------------------------------


def test_every_number_of_the_papers_tables_is_there_once():
    numbers = results.published()
    assert numbers["table"].value_counts().to_dict() == {
        "table1_quality": 7 * 7,
        "table1_ratings": 7 * 3,
        "table2_ablation": 10 * 3,
        "tableS1": 7 * 9,
        "tableS2": 7 * 4,
    }
    assert not numbers.duplicated(["table", "dataset", "method", "metric"]).any()
    assert numbers["value"].notna().all()
    known = {method.published for method in study.METHODS.values()}
    assert set(numbers["method"]) <= known | set(study.ABLATION_LABELS.values())


@pytest.mark.parametrize(
    ("table", "dataset", "method", "metric", "value"),
    [
        ("table1_quality", "ebb_val294", "BokehDiff", "dists", 0.1155),
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
