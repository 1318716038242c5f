"""Laws of ratings: what counts, what is named, what the statistics and the notebook make of it."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from made_up import STUDY_KEY, sheet
from scipy import stats

from bokehlib.extras.user_study import ratings, tests
from bokehlib.io.errors import InputError
from bokehlib.study import results, runner

PAPER = results.published("table1_ratings")
LATER, FIRST = "2026-02-02T10:00:00Z", "2026-02-01T10:00:00Z"


@pytest.fixture
def folder(tmp_path):
    """A folder with a key and no sheets."""
    place = tmp_path / "ratings" / "real"
    place.mkdir(parents=True)
    (place / f"study{ratings.KEY}").write_text(STUDY_KEY.text())
    return place


def put(folder, name, rows):
    file = io.StringIO()
    writer = csv.DictWriter(file, ratings.COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (folder / name).write_text(file.getvalue())
    return folder / name


def many(folder, raters=8):
    """Invented ratings in which drbokeh is 1 point better than scatter."""
    rng = np.random.default_rng(0)
    for n in range(raters):
        base = rng.integers(1, 4)
        put(folder, f"{n}.csv", sheet(f"r{n}", {"scatter": base, "drbokeh": base + 1}))
    return ratings.read(folder).rows


# --- Reading ---------------------------------------------------------------------------------


def test_a_sheet_is_unblinded_by_the_key_also_when_a_spreadsheet_saved_it_again(folder):
    path = put(folder, "anna.csv", sheet("anna", {"scatter": 2, "drbokeh": 5}))
    found = ratings.read(folder)
    assert found.summary() == "Sheets: 1; counted: 1 complete."
    assert len(found.rows) == STUDY_KEY.expected == 6
    assert found.rows.groupby("method")["rating"].unique().to_dict() == {"drbokeh": 5, "scatter": 2}
    assert set(zip(found.rows["rater"], found.rows["experience"], strict=True)) == {
        ("anna", "year")
    }
    path.write_text("\ufeff" + path.read_text().replace(",", ";").replace("\n", "\r\n"))
    pd.testing.assert_frame_equal(ratings.read(folder).rows, found.rows)


def test_without_files_there_are_no_ratings_and_without_their_one_key_files_are_refused(folder):
    for place in (folder, folder / "nothing"):
        assert ratings.read(place).summary() == "No sheet of ratings is there."
        assert ratings.read(place).rows.empty
    assert ratings.find("real", folder.parents[1]) == folder
    with pytest.raises(InputError, match=r"found no folder .*/nowhere; accepted"):
        ratings.find(str(folder / "nowhere"), folder)
    put(folder, "anna.csv", sheet("anna"))
    key = folder / f"study{ratings.KEY}"
    for text, complaint in {"{}": "no key in", None: "for a key none"}.items():
        key.write_text(text) if text else key.unlink()
        with pytest.raises(InputError, match=complaint):
            ratings.read(folder)


ANNA = sheet("anna")
BAD = {  # text of a CSV file or its rows, status, remark, ratings that count
    "empty": ("", "damaged", "no column study, rater", 0),
    "no text": (b"\xff\xfe\x00\x01", "damaged", "can't decode", 0),
    "another table": ("name,age\nx,3\n", "damaged", "no column study", 0),
    "no rows": (",".join(ratings.COLUMNS), "damaged", "no rating in it", 0),
    "rating 7": ([ANNA[0] | {"rating": "7"}, *ANNA[1:]], "incomplete", "line 2: rating 7", 5),
    "half": ([ANNA[0] | {"rating": "3.5"}, *ANNA[1:]], "incomplete", "line 2: rating 3.5", 5),
    "aspect": ([ANNA[0] | {"aspect": "beauty"}, *ANNA[1:]], "incomplete", "aspect 'beauty'", 5),
    "case": ([ANNA[0] | {"case": "c9"}, *ANNA[1:]], "incomplete", "case 'c9' is not in", 5),
    "result": ([ANNA[0] | {"result": "999"}, *ANNA[1:]], "incomplete", "result '999' is not", 5),
    "cut off": (ANNA[:4], "incomplete", "4 of 6 ratings; 0 of 1 checks", 4),
    "repeated": ([*ANNA, ANNA[0] | {"rating": "5"}], "complete", "line 9: repeats line 2", 6),
    "inattentive": (sheet("anna", check="1"), "inattentive", "1 of 1 attention checks failed", 0),
    "other": ([row | {"study": "x"} for row in ANNA], "another study", "x; accepted: study", 0),
}


@pytest.mark.parametrize(("content", "status", "remark", "counted"), BAD.values(), ids=BAD)
def test_a_bad_file_or_row_is_named_and_the_others_count(folder, content, status, remark, counted):
    put(folder, "good.csv", sheet("good"))
    if isinstance(content, list):
        put(folder, "bad.csv", content)
    else:
        (folder / "bad.csv").write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
    found = ratings.read(folder)
    assert found.sheets["status"].tolist() == [status, "complete"]
    assert remark in found.sheets["remarks"][0]
    assert len(found.rows) == counted + STUDY_KEY.expected
    assert ("Left out: bad.csv" in found.summary()) == (counted == 0)
    assert set(found.rows["rating"]) == {3, 4}
    if status == "inattentive":
        assert len(ratings.read(folder, failures=1).rows) == 2 * STUDY_KEY.expected


def test_the_fullest_file_of_a_session_counts_and_the_first_session_of_a_rater(folder):
    put(folder, "a.csv", ANNA[:3])
    put(folder, "b.csv", ANNA)
    put(
        folder,
        "c.csv",
        sheet("n7", session="s2", time=LATER) + sheet("n7", session="s1", time=FIRST),
    )
    found = ratings.read(folder)
    assert found.sheets["status"].tolist() == ["double", "complete", "double", "complete"]
    assert set(found.rows["rater"]) == {"anna", "s1"}


# --- Statistics ------------------------------------------------------------------------------


def test_a_mean_opinion_score_has_an_interval_on_the_scale_and_the_papers_number_beside(folder):
    rows = many(folder)
    table = tests.mean_opinions(rows, PAPER).set_index("method")
    for aspect in ratings.ASPECTS:
        own = rows[(rows["aspect"] == aspect) & (rows["method"] == "drbokeh")]["rating"]
        assert table.loc["Dr.Bokeh", aspect] == pytest.approx(own.mean())
    assert table.loc["Dr.Bokeh", ["accuracy_paper", "raters", "ratings"]].tolist() == [3.41, 8, 24]
    assert table.loc["MPIB", [*ratings.ASPECTS]].isna().all()
    high = rows.assign(rating=5, method="my-blur")
    high.loc[high["rater"] == "r0", "rating"] = 1
    last = tests.mean_opinions(high, PAPER).iloc[-1]
    assert last["method"] == "my-blur"
    assert (last["accuracy"], last["accuracy_high"]) == (4.5, 5)


def test_an_interval_keeps_raters_whole():
    rng = np.random.default_rng(6)
    raters = np.repeat(np.arange(12), 8)
    given = 3 + rng.normal(0, 0.6, 12)[raters] + rng.normal(0, 0.5, 96)
    mean, low, high = tests.mean_over_raters(given, raters)
    own = given.reshape(12, 8).mean(axis=1)
    half = stats.t.ppf(0.975, 11) * own.std(ddof=1) / np.sqrt(12)
    assert (mean, low, high) == pytest.approx((given.mean(), mean - half, mean + half), abs=0.05)
    assert mean == pytest.approx(given.mean())
    alone = tests.mean_over_raters(given, np.arange(96))
    assert high - low > 2 * (alone[2] - alone[1])
    assert np.isnan(tests.mean_over_raters([3, 4], ["a", "a"])[1:]).all()


def test_alpha_is_krippendorffs_own_example():
    """Computing Krippendorff's Alpha-Reliability (2011), section C and D: data, and result."""
    no = np.nan
    table = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, no, no, no],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, no, 3],
        [no, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, no],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, no],
    ]
    assert tests.alpha(table) == pytest.approx(0.815, abs=5e-4)
    assert tests.alpha(np.tile([1, 2, 5], (3, 1))) == 1
    chance = np.random.default_rng(0).integers(1, 6, (10, 200))
    assert tests.alpha(chance) == pytest.approx(0, abs=0.02)
    assert np.isnan(tests.alpha([[3, 3], [3, 3]]))
    assert np.isnan(tests.alpha([[1, no], [no, 2]]))


def test_no_difference_has_p_one_and_few_raters_no_p_and_holm_steps_down():
    table = pd.DataFrame(np.random.default_rng(0).normal([0, 0, 0.8], 1, (20, 3)))
    assert tests.friedman(table) == pytest.approx(tuple(stats.friedmanchisquare(*table.T.values)))
    assert tests.friedman(pd.DataFrame(np.tile([[3], [4], [4]], (1, 3)))) == (0, 1)
    assert np.isnan(tests.friedman(table[:2])).all()
    differences = table[2][: tests.EXACT] - table[0]
    differences = differences.dropna()
    assert tests.wilcoxon(differences) == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert tests.wilcoxon(np.ones(6)) == pytest.approx(2 / 2**6)
    assert tests.wilcoxon(np.full(6, 1e-16)) == 1  # rounding is no difference
    assert np.isnan(tests.wilcoxon([1, 1]))
    p = pd.Series([0.01, 0.04, np.nan, 0.03, 0.005], index=[*"dabce"])
    expected = pd.Series([0.03, 0.06, np.nan, 0.06, 0.02], index=p.index)
    pd.testing.assert_series_equal(tests.holm(p), expected)
    assert tests.holm(p[p.isna()]).isna().all()


@pytest.mark.parametrize(("raters", "difference"), [(20, 0.8), (50, 0.3), (50, 0.5)])
def test_power_is_how_often_wilcoxons_test_shows_a_difference(raters, difference):
    drawn = np.random.default_rng(8).normal(difference, 1, (3000, raters))
    level = 0.05 / 6
    shown = stats.wilcoxon(drawn, axis=1, method="asymptotic").pvalue < level
    assert tests.power(difference, 1, raters, level) == pytest.approx(shown.mean(), abs=0.035)


def test_what_is_detectable_has_that_power_and_shrinks_with_more_raters():
    found = [tests.detectable(0.7, raters, 0.05 / 21, 0.8) for raters in (3, 10, 50)]
    for raters, difference in zip((3, 10, 50), found, strict=True):
        shown = tests.power(difference, 0.7, raters, 0.05 / 21)
        assert shown == pytest.approx(0.8, abs=1e-6)
    assert found == sorted(found, reverse=True)
    assert tests.detectable(0, 50, 0.01, 0.8) == 0


# --- The notebook ----------------------------------------------------------------------------


def run(root):
    runner.run("41_user_study", root, pictures="", results=str(root))
    return {path.stem: path for path in root.glob("[tf]*/*") if path.suffix in (".csv", ".svg")}


def test_the_committed_table_is_made_without_ratings_and_says_not_run(tmp_path):
    assert [*run(tmp_path)] == ["table1_ratings"]
    committed = sorted((results.RESULTS / "tables").glob("table1_ratings.*"))
    assert len(committed) == 3
    for path in committed:
        assert (tmp_path / "tables" / path.name).read_bytes() == path.read_bytes()
    assert "| not run |" in committed[1].read_text().replace("  ", "")
    assert not [*(results.RESULTS / "ratings").rglob("*.csv")]  # none is invented


def test_with_ratings_pairs_are_called_by_holms_p_and_fifty_raters_are_reckoned(folder, tmp_path):
    rows = many(folder)
    made = run(tmp_path)
    assert set(made) == {"table1_ratings", "ratings_agreement", "ratings_pairs", "ratings"}
    pairs = pd.read_csv(made["ratings_pairs"])
    assert pairs["pair"].tolist() == ["Scatter − Dr.Bokeh"] * 3
    assert pairs["rating_difference"].tolist() == [-1] * 3
    assert set(pairs["rating_verdict"]) == {"worse"}
    assert pairs["p"].to_numpy() == pytest.approx(2 / 2**8)
    agreement = pd.read_csv(made["ratings_agreement"])
    assert agreement["ratings"].sum() == len(rows)
    assert agreement["friedman"].isna().all()  # two methods
    assert agreement["detectable"].tolist() == [0] * 3  # all raters say the same difference
