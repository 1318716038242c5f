"""Laws of rating sheets: what counts, what is named, and what the tables make of it."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from made_up import STUDY_KEY, sheet

from bokehlib import ratings, ratings_figure, results, study, tables
from bokehlib.errors import InputError
from bokehlib.extras.user_study import demo

ASPECTS = [*ratings.ASPECTS]


@pytest.fixture
def folder(tmp_path):
    """A folder with a key and no sheets."""
    (tmp_path / f"study{ratings.KEY}").write_text(STUDY_KEY.text())
    return tmp_path


def put(folder, name, rows, columns=ratings.COLUMNS):
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (folder / name).write_text(file.getvalue())
    return folder / name


def statuses(found):
    return dict(zip(found.sheets["file"], found.sheets["status"], strict=True))


def remarks(found, file):
    (remark,) = found.sheets[found.sheets["file"] == file]["remarks"]
    return remark


# --- What counts -----------------------------------------------------------------------------


def test_a_sheet_is_unblinded_by_the_key(folder):
    put(folder, "anna.csv", sheet("anna", {"scatter": 2, "drbokeh": 5}))
    found = ratings.read(folder)
    assert statuses(found) == {"anna.csv": "complete"}
    assert len(found.rows) == STUDY_KEY.expected == 6
    assert found.rows.groupby("method")["rating"].unique().to_dict() == {"drbokeh": 5, "scatter": 2}
    assert found.rows[["rater", "experience"]].drop_duplicates().to_numpy().tolist() == [
        ["anna", "year"]
    ]


def test_json_and_what_a_spreadsheet_saved_again_say_the_same_as_csv(folder, tmp_path):
    rows = sheet("anna", {"scatter": 2, "drbokeh": 5})
    path = put(folder, "anna.csv", rows)
    expected = ratings.read(folder).rows
    text = path.read_text()
    path.write_text("\ufeff" + text.replace(",", ";").replace("\n", "\r\n"))
    pd.testing.assert_frame_equal(ratings.read(folder).rows, expected)
    path.unlink()
    (folder / "anna.json").write_text(json.dumps({"study": "study", "rows": rows}))
    pd.testing.assert_frame_equal(ratings.read(folder).rows, expected)


def test_without_folder_or_sheets_there_are_no_ratings_and_a_wrong_path_is_refused(folder):
    for place in (folder, folder / "nothing"):
        found = ratings.read(place)
        assert found.rows.empty
        assert found.summary() == "No sheet of ratings is there."
    assert ratings.find("real", folder) == folder / "ratings" / "real"
    assert ratings.find(str(folder), folder) == folder
    with pytest.raises(InputError, match=r"found no folder .*/nowhere; accepted"):
        ratings.find(str(folder / "nowhere"), folder)


def test_sheets_without_their_key_or_with_two_are_refused(folder):
    put(folder, "anna.csv", sheet("anna"))
    key = folder / f"study{ratings.KEY}"
    key.with_name(f"other{ratings.KEY}").write_text(key.read_text())
    with pytest.raises(
        InputError, match=r"other.key.json, study.key.json for a key; accepted: one"
    ):
        ratings.read(folder)
    key.with_name(f"other{ratings.KEY}").unlink()
    key.write_text("{}")
    with pytest.raises(InputError, match="no key in it"):
        ratings.read(folder)
    key.unlink()
    with pytest.raises(InputError, match="none for a key"):
        ratings.read(folder)


# --- What is named ---------------------------------------------------------------------------


def test_a_foreign_column_is_named_and_every_rating_kept(folder):
    rows = [row | {"mood": "fine"} for row in sheet("anna")]
    put(folder, "anna.csv", rows, (*ratings.COLUMNS, "mood"))
    found = ratings.read(folder)
    assert statuses(found) == {"anna.csv": "complete"}
    assert remarks(found, "anna.csv") == "foreign column 'mood' not used"
    assert len(found.rows) == STUDY_KEY.expected


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({"rating": "7"}, "line 3: rating 7; accepted: 1 to 5"),
        ({"rating": ""}, "line 3: rating missing; accepted: 1 to 5"),
        ({"rating": "3.5"}, "line 3: rating 3.5; accepted: 1 to 5"),
        ({"aspect": "beauty"}, "line 3: aspect 'beauty'; accepted: accuracy, authenticity"),
        ({"case": "c9"}, "line 3: case 'c9' is not in the key"),
        ({"result": "999"}, "line 3: result '999' is not in the key"),
    ],
)
def test_a_row_that_cannot_be_right_is_named_and_the_others_count(folder, change, remark):
    rows = sheet("anna")
    rows[1] |= change
    put(folder, "anna.csv", rows)
    found = ratings.read(folder)
    assert statuses(found) == {"anna.csv": "incomplete"}
    assert remark in remarks(found, "anna.csv")
    assert "5 of 6 ratings" in remarks(found, "anna.csv")
    assert len(found.rows) == 5


def test_of_two_rows_about_the_same_the_first_counts_and_the_other_is_named(folder):
    rows = sheet("anna", {"scatter": 1, "drbokeh": 1})
    put(folder, "anna.csv", [*rows, rows[0] | {"rating": "5"}])
    found = ratings.read(folder)
    assert set(found.rows["rating"]) == {1}
    assert "line 9: says again what line 2 says" in remarks(found, "anna.csv")


def test_a_file_cut_off_in_the_middle_counts_as_far_as_it_goes(folder):
    path = put(folder, "anna.csv", sheet("anna"))
    path.write_text(path.read_text()[:-120])
    found = ratings.read(folder)
    assert statuses(found) == {"anna.csv": "incomplete"}
    assert remarks(found, "anna.csv") == "line 7: 5 of 13 cells; 5 of 6 ratings; 0 of 1 checks"


@pytest.mark.parametrize(
    ("name", "content", "remark"),
    [
        ("a.csv", b"", "no column study, rater"),
        ("a.csv", b"\xff\xfe\x00\x01" * 9, "cannot be read"),
        ("a.csv", b"name,age\nx,3\n", "no column study"),
        ("a.csv", b"study,study,rater\n", "study is there twice"),
        ("a.json", b"{", "cannot be read"),
        ("a.json", b"[1, 2]", "cannot be read"),
        ("a.json", b'{"rows": []}', "no rating in it"),
        ("a.txt", b"dear all", "not a sheet; accepted: .csv, .json"),
    ],
)
def test_a_damaged_file_is_named_beside_those_that_count(folder, name, content, remark):
    put(folder, "good.csv", sheet("good"))
    (folder / name).write_bytes(content)
    found = ratings.read(folder)
    assert statuses(found) == {name: "damaged", "good.csv": "complete"}
    assert remark in remarks(found, name)
    assert f"Left out: {name} (damaged)." in found.summary()
    assert "Sheets: 2; counted: 1 complete." in found.summary()


def test_a_file_that_is_there_twice_counts_once_and_the_fuller_one_of_a_session_counts(folder):
    full = sheet("anna")
    put(folder, "a-early.csv", full[:3])
    put(folder, "b-late.csv", full)
    put(folder, "c-copy.csv", full)
    found = ratings.read(folder)
    assert statuses(found) == {
        "a-early.csv": "double",
        "b-late.csv": "complete",
        "c-copy.csv": "double",
    }
    assert "the same answers of anna in b-late.csv" in remarks(found, "c-copy.csv")
    assert len(found.rows) == STUDY_KEY.expected


def test_of_two_goes_of_one_rater_the_first_by_time_counts(folder):
    put(folder, "a.csv", sheet("n7", session="later", time="2026-02-02T10:00:00Z"))
    put(folder, "b.csv", sheet("n7", session="first", time="2026-02-01T10:00:00Z"))
    found = ratings.read(folder)
    assert statuses(found) == {"a.csv": "double", "b.csv": "complete"}
    assert set(found.rows["rater"]) == {"first"}


def test_who_fails_an_attention_check_is_named_and_left_out_unless_that_is_allowed(folder):
    rows = sheet("anna", check="1")
    put(folder, "anna.csv", rows)
    found = ratings.read(folder)
    assert statuses(found) == {"anna.csv": "inattentive"}
    assert "1 of 1 attention checks failed" in remarks(found, "anna.csv")
    assert found.rows.empty
    assert len(ratings.read(folder, failures=1).rows) == STUDY_KEY.expected


def test_a_sheet_of_another_study_is_named_and_left_out(folder):
    put(folder, "anna.csv", [row | {"study": "other"} for row in sheet("anna")])
    found = ratings.read(folder)
    assert statuses(found) == {"anna.csv": "another study"}
    assert remarks(found, "anna.csv") == "other; accepted: study"


def test_one_file_may_hold_several_raters(folder):
    put(folder, "all.csv", sheet("anna") + sheet("bert")[:4])
    found = ratings.read(folder)
    assert found.sheets["status"].tolist() == ["complete", "incomplete"]
    assert found.summary() == "Sheets: 2; counted: 1 complete and 1 incomplete."


# --- Tables ----------------------------------------------------------------------------------


def many(folder, raters=8, gap=1.0, seed=0):
    """Sheets in which drbokeh is about `gap` better than scatter."""
    rng = np.random.default_rng(seed)
    for n in range(raters):
        base = rng.integers(1, 4)
        put(folder, f"{n}.csv", sheet(f"r{n}", {"scatter": base, "drbokeh": base + gap}))
    return ratings.read(folder).rows


def opinions(rows):
    table = tables.mean_opinions(rows, results.published("table1_ratings"))
    return table.set_index("method")


def test_a_mean_opinion_score_is_that_of_the_ratings_with_the_papers_number_beside(folder):
    rows = many(folder)
    table = opinions(rows)
    for aspect in ASPECTS:
        own = rows[(rows["aspect"] == aspect) & (rows["method"] == "drbokeh")]["rating"]
        row = table.loc["Dr.Bokeh"]
        assert row[aspect] == pytest.approx(own.mean())
        assert 1 <= row[f"{aspect}_low"] < row[aspect] < row[f"{aspect}_high"] <= 5
    assert table.loc["Dr.Bokeh", "accuracy_paper"] == 3.41
    assert table.loc["Dr.Bokeh", ["raters", "ratings"]].tolist() == [8, 24]
    assert table.loc["MPIB", ASPECTS].isna().all()
    assert table.loc["MPIB", "preference_paper"] == 2.04


def test_an_interval_ends_with_the_scale(folder):
    rows = many(folder).assign(rating=5)
    rows.loc[rows["rater"] == "r0", "rating"] = 1
    row = opinions(rows).loc["Scatter"]
    assert row["accuracy"] == 4.5
    assert row["accuracy_high"] == 5
    row = opinions(rows.assign(rating=6 - rows["rating"])).loc["Scatter"]
    assert row["accuracy_low"] == 1


def test_a_method_that_the_study_does_not_know_comes_last_under_its_own_name(folder):
    rows = many(folder).replace({"method": {"drbokeh": "my-blur"}})
    assert opinions(rows).index[-1] == "my-blur"
    assert opinions(rows).loc["my-blur", "ratings"] == 24


def test_one_rater_has_means_without_intervals_and_nothing_is_tested(folder):
    put(folder, "anna.csv", sheet("anna", {"scatter": 2, "drbokeh": 5}))
    rows = ratings.read(folder).rows
    assert opinions(rows).loc["Scatter", "accuracy"] == 2
    assert np.isnan(opinions(rows).loc["Scatter", "accuracy_low"])
    shown = tables.markdown(tables.rating_pairs(rows), "ratings_pairs")
    assert shown.count(" -3.00 |") == 3
    assert "better" not in shown
    assert tables.agreement(rows)["detectable"].isna().all()


def test_a_pair_is_compared_on_the_same_raters_and_called_by_holms_p(folder):
    pairs = tables.rating_pairs(many(folder, raters=8))
    assert pairs["pair"].tolist() == ["Scatter − Dr.Bokeh"] * 3
    assert pairs["rating_difference"].tolist() == [-1] * 3
    assert set(pairs["rating_verdict"]) == {"worse"}
    assert pairs["p"].to_numpy() == pytest.approx(2 / 2**8)
    few = tables.rating_pairs(many(folder, raters=4).query("rater < 'r4'"))
    assert set(few["rating_verdict"]) == {"no difference shown"}


def test_agreement_counts_raters_and_says_what_fifty_would_show(folder):
    rows = many(folder)
    noisy = rows.assign(rating=np.random.default_rng(1).integers(1, 6, len(rows)))
    table = tables.agreement(noisy).set_index("aspect")
    assert table["raters"].tolist() == [8] * 3
    assert (table["alpha"].abs() < 0.5).all()
    more = tables.agreement(noisy, planned=200).set_index("aspect")
    assert (more["detectable"] < table["detectable"]).all()
    assert table["friedman"].isna().all()  # two methods
    third = rows[rows["method"] == "scatter"].assign(method="mpib", rating=1)
    assert (tables.agreement(pd.concat([rows, third]))["friedman_p"] < 0.05).all()


def test_the_pairs_of_a_table_stand_in_the_order_of_the_study():
    names = demo.METHODS
    key, text = demo.make()
    assert [*study.METHODS].index(names[0]) < [*study.METHODS].index(names[1])
    assert set(next(iter(key.cases.values())).values()) == set(names)
    assert text.count("\n") == 1 + demo.RATERS * (key.expected + 1)


# --- The demo --------------------------------------------------------------------------------


def test_the_committed_demo_is_what_its_rule_makes_of_the_committed_scores(tmp_path):
    key, text = demo.make()
    folder = results.RESULTS / "ratings" / "demo"
    again = "run `python -m bokehlib.extras.user_study.demo`, then `study table1_ratings_demo`"
    assert (folder / f"demo{ratings.KEY}").read_text() == key.text(), again
    assert (folder / "ratings-demo.csv").read_text() == text, again


def test_no_ratings_but_the_demos_are_in_the_repository():
    held = {path.parent.name for path in (results.RESULTS / "ratings").rglob("*") if path.is_file()}
    assert held <= {"demo"}


@pytest.mark.parametrize(
    ("folder_name", "file", "is_demo"),
    [("demo", "a.csv", True), ("real", "ratings-demo.csv", True), ("real", "demograph.csv", False)],
)
def test_what_has_demo_in_its_name_is_called_one(tmp_path, folder_name, file, is_demo):
    place = tmp_path / folder_name
    place.mkdir()
    (place / f"study{ratings.KEY}").write_text(STUDY_KEY.text())
    put(place, file, sheet("anna"))
    found = ratings.read(place)
    assert found.demo is is_demo
    assert found.name("table1_ratings") == "table1_ratings" + "_demo" * is_demo


def test_committed_demo_tables_and_figure_follow_from_the_sheet_and_say_demo(tmp_path):
    found = ratings.read(results.RESULTS / "ratings" / "demo")
    paper = results.published("table1_ratings")
    made = {
        "table1_ratings": (tables.mean_opinions(found.rows, paper), found.summary()),
        "ratings_agreement": (tables.agreement(found.rows), ""),
        "ratings_pairs": (tables.rating_pairs(found.rows), ""),
    }
    for name, (frame, note) in made.items():
        results.write_table(found.marked(frame), found.name(name), tmp_path, note)
        for suffix in (".csv", ".md", ".tex"):
            file = f"tables/{name}_demo{suffix}"
            text = (tmp_path / file).read_text()
            assert "demo" in text.lower()
            assert text == (results.RESULTS / file).read_text()
    figure = ratings_figure.ratings(found.rows, paper, found.demo)
    assert any("demo" in text.get_text() for text in figure.texts)
    drawn = results.write_figure(figure, found.name("ratings"), tmp_path)
    assert drawn.read_bytes() == (results.RESULTS / "figures" / drawn.name).read_bytes()


# --- The figure ------------------------------------------------------------------------------


def test_the_figure_shows_means_intervals_and_the_papers_numbers(folder):
    rows = many(folder)
    figure = ratings_figure.ratings(rows, results.published("table1_ratings"))
    table = opinions(rows)
    for axes, aspect in zip(figure.axes, ASPECTS, strict=False):
        drawn = {(float(x), int(y)) for x, y in (line.get_xydata()[0] for line in axes.lines)}
        assert (table.loc["Dr.Bokeh", aspect], 0) in drawn  # the last method is at the bottom
        assert (table.loc["Dr.Bokeh", f"{aspect}_paper"], 0) in drawn
        assert (table.loc["Scatter", aspect], 1) in drawn
    assert not any("demo" in text.get_text() for text in figure.texts)


def test_without_ratings_the_figure_says_so():
    figure = ratings_figure.ratings(tables.NO_RATINGS, results.published("table1_ratings"))
    assert figure.texts[0].get_text().startswith("not run")
