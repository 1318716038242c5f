"""Laws of the tables: means, paired differences, the paper's numbers, and their text."""

import re

import numpy as np
import pandas as pd
import pytest
from cells import execute, leave
from made_up import fill, rows, write

from bokehlib import study
from bokehlib.study import readme, results, tables
from bokehlib.study.statistics import paired_difference

IMAGES = tuple(f"s{number}" for number in range(6))
MINI, RIVAL = "bokehdiff-mini", "scatter"
LENS = study.ROBUSTNESS_BLUR
SCENES = tuple(f"scene_{number:02d}" for number in range(24))
GLYPH = re.compile(rb"DejaVuSans[\w-]*")  # its number differs between versions of the font
LIT = SCENES[::3]  # how the benchmark was chosen
NAMES = [  # notebook, parameters, tables that it makes
    *[("40_quality", {"table": f"table{name}"}) for name in ("1_quality", "S1", "S2")],
    *[("40_quality", {"table": f"tableS2_{name}"}) for name in ("rebuilt", "rendered")],
    *[("42_ablation", {"table": name}) for name in ("table2_ablation", "table2b_physics")],
    *[("42_ablation", {"table": "table2c_beyond"}), ("43_robustness", {}), ("44_speed", {})],
    *[("41_user_study", {"pictures": ""}), ("47_radius", {}), ("49_in_focus", {})],
    *[("53_strands", {}), ("54_latents", {}), ("55_origins", {})],
]


def frame(*made):
    """Score rows as `results.read_scores` gives them."""
    table = pd.DataFrame([row for rows in made for row in rows]).reindex(columns=results.COLUMNS)
    return table.astype({"perturbation": "str"})


def quality(root, name="tableS2"):
    return execute("40_quality", root, table=name)["frame"]


# --- The committed tables and figures --------------------------------------------------------


@pytest.mark.parametrize(("notebook", "parameters"), NAMES, ids=lambda value: str(value))
def test_committed_tables_and_drawings_follow_from_committed_scores(notebook, parameters, tmp_path):
    for folder in ("scores", "pictures"):
        (tmp_path / folder).symlink_to(results.RESULTS / folder)
    execute(notebook, tmp_path, **parameters)
    made = [path for path in tmp_path.glob("*/*") if path.parent.name in ("tables", "figures")]
    assert made
    for path in made:
        committed = results.RESULTS / path.relative_to(tmp_path)
        one, other = (GLYPH.sub(b"glyph", p.read_bytes()) for p in (path, committed))
        assert one == other, committed.name


def test_every_committed_table_is_made_by_one_of_these_notebooks():
    reporters = {(o.notebook, *o.parameters.values()) for o in study.OUTPUTS.values()}
    made = {(notebook, *parameters.values()) for notebook, parameters in NAMES}
    assert {r for r in reporters if r[0] != "46_image_grids"} == made


@pytest.mark.parametrize(("notebook", "parameters"), NAMES[:10], ids=lambda value: str(value))
def test_without_scores_no_number_of_ours_appears_anywhere(notebook, parameters, tmp_path):
    execute(notebook, tmp_path, **parameters)
    for path in (tmp_path / "tables").glob("*.csv"):
        table = pd.read_csv(path)
        ours = [c for c in table if c not in tables.WORDS and not c.endswith("_paper")]
        assert (table[ours].fillna(0) == 0).all(axis=None)
        text = path.with_suffix(".md").read_text() + path.with_suffix(".tex").read_text()
        assert "not run" in text
        assert "nan" not in text.lower()


# --- Quality ---------------------------------------------------------------------------------


def test_ours_are_means_over_the_exact_pictures_and_the_papers_number_is_beside_them(tmp_path):
    fill(tmp_path)
    write(tmp_path, rows(images=("s00",), blurs=(0,), psnr=34.0))  # one of eight: 26 -> 27
    found = quality(tmp_path).set_index("method")
    assert found.loc["Scatter", ["psnr", "images"]].tolist() == [27.0, 8]
    assert np.isnan(found.loc["Scatter", "psnr_paper"])
    assert found.loc["BokehDiff-mini (paper)", ["psnr", "psnr_paper"]].tolist() == [28.0, 34.165]
    assert np.isnan(found.loc["MPIB", "psnr"])


def test_the_best_of_ours_is_bold_and_no_number_of_the_paper_is(tmp_path):
    fill(tmp_path)
    shown = tables.markdown(quality(tmp_path), "tableS2")
    assert "**29.000**" in shown
    assert "**28.000**" not in shown
    assert "**34.165**" not in shown
    assert r"\textbf{29.000}" in tables.latex(quality(tmp_path), "tableS2")


def test_the_readme_says_that_the_data_sets_differ():
    assert "different data" in readme.table()
    assert "never released" in readme.table()


# --- Trainings of a recipe -------------------------------------------------------------------


def trained(recipe, gains, whole="", psnr=30.0, lpips=0.1, images=IMAGES):
    """Score rows of a training for every seed, `gains` being its luck in dB."""
    made = []
    for seed, gain in dict(gains).items():
        for number, image in enumerate(images):
            metrics = {"psnr": psnr + gain + number, "lpips_alex": lpips}
            made += rows(f"{recipe}{whole}-s{seed}", (image,), **metrics)
    return made


@pytest.fixture
def table2(tmp_path):
    def make(*made, name="table2_ablation"):
        leave(tmp_path, [row for rows in made for row in rows])
        return execute("42_ablation", tmp_path, table=name)["frame"]

    return make


def row(table, setting, tuned="LoRA"):
    return table[(table["setting"] == setting) & (table["tuned"] == tuned)].iloc[0]


def test_a_recipes_numbers_are_means_over_its_trainings_in_the_papers_order(table2):
    table = table2(trained("no_coc", {0: 0.0, 1: 1.0, 7: 5.0}))
    found = row(table, "w/o CoC")
    assert found[["psnr", "trainings", "images"]].tolist() == [30 + 2.5 + 2, 3, 12]
    paper = results.published("table2_ablation").query("metric == 'psnr'")
    assert list(table["setting"]) == list(paper["method"])
    assert list(table["psnr_paper"]) == list(paper["value"])


def test_a_difference_to_the_complete_model_pairs_images_and_seeds(table2):
    full = trained("full", {0: 0.0, 1: 2.0, 2: 4.0})
    table = table2(full, trained("no_coc", {0: 1.0, 1: 3.0, 2: 5.0}, lpips=0.08))
    found = row(table, "w/o CoC")
    assert found[["psnr_difference", "psnr_low", "psnr_high"]].tolist() == pytest.approx([1] * 3)
    assert found[["lpips_percent", "lpips_low"]].tolist() == pytest.approx([-20, -20])
    assert (found["psnr_verdict"], found["lpips_verdict"]) == ("better", "better")
    shown = tables.display(table).set_index("Setting")["PSNR difference ↑"]
    assert shown["w/o CoC"] == "+1.00 [+1.00, +1.00] better"
    assert (shown["Complete model"], shown["T = 249"]) == ("–", "not run")


def test_only_seeds_and_scenes_that_both_recipes_have_are_compared(table2):
    full = trained("full", {0: 9.0, 1: 0.0, 2: 0.0})
    other = trained("no_coc", {1: 1.0, 2: 1.0, 3: -9.0})
    partly = [r for r in other if (r["method"], r["image"]) != ("no_coc-s2", "s0")]
    partly[0] = partly[0] | {"psnr": 99.0}  # of s0, which seed 2 lacks
    assert row(table2(full, partly), "w/o CoC")["psnr_difference"] == pytest.approx(1)


def test_one_scene_has_no_interval_and_no_common_seed_no_difference(table2):
    one = [trained(n, {0: gain}, images=("s0",)) for n, gain in {"full": 0, "no_coc": 1}.items()]
    table = table2(*one, trained("t249", {1: 1.0}))
    found = row(table, "w/o CoC")
    assert found["psnr_difference"] == pytest.approx(1)
    assert found[["psnr_low", "psnr_high", "psnr_verdict"]].isna().all()
    assert np.isnan(row(table, "T = 249")["psnr_difference"])


def test_whole_u_nets_are_compared_within_a_block_of_their_own_without_the_papers_numbers(table2):
    lora = trained("full", {0: 0.0}), trained("no_coc", {0: -1.0})
    whole = trained("full", {0: 5.0}, "-whole"), trained("no_coc", {0: 8.0}, "-whole")
    table = table2(*lora, *whole)
    assert table["tuned"].tolist() == ["LoRA"] * 10 + ["whole U-Net"] * 10
    gains = [row(table, "w/o CoC", tuned)["psnr_difference"] for tuned in table["tuned"].unique()]
    assert gains == pytest.approx([-1, 3])
    paper = table.filter(like="_paper")
    assert paper[:10].notna().all(axis=None)
    assert paper[10:].isna().all(axis=None)
    bold = [word for word in ("**32.500**", "**40.500**") if word in tables.markdown(table, "")]
    assert len(bold) == 2  # the best of each block


def test_table_2b_is_compared_with_pisa_as_the_paper_has_it(table2):
    made = trained("physics-paper", {0: 0.0}), trained("physics-thin_lens", {0: 2.0})
    table = table2(*made, name="table2b_physics").set_index("setting")
    assert table.loc['PISA, visibility "thin_lens"', "psnr_difference"] == pytest.approx(2)
    assert np.isnan(table.loc['PISA, visibility "paper"', "psnr_difference"])


def test_trainings_of_a_recipe_are_rows_of_no_other_table(monkeypatch, tmp_path):
    made = frame(trained("full", {0: 0.0}), rows("scatter"))
    monkeypatch.setitem(study.METHODS, "full-s0", study.Method("Full", "a training"))
    assert tables.methods(made) == [*study.EMBEDDED]


def test_latex_escapes_what_it_would_take_for_its_own(table2):
    shown = tables.latex(table2(trained("full", {0: 0.0})), "table2_ablation", "5 % of a_b")
    assert r"5 \% of a\_b" in shown
    assert "%" not in shown.replace(r"\%", "")


# --- Claims ----------------------------------------------------------------------------------


@pytest.fixture
def claims(tmp_path):
    def make(*made, method=MINI, dataset="synbokeh-mini"):
        leave(tmp_path, [row for rows in made for row in rows])
        table = execute("43_robustness", tmp_path)["claims"]
        chosen = (table["method"] == study.METHODS[method].label) & (table["dataset"] == dataset)
        return table[chosen].set_index(["disparity", "scenes"])

    return make


def exact(method, psnr, scenes=SCENES, **metrics):
    return rows(method, scenes, range(4), psnr=psnr, **metrics)


def wrong(method, eroded, dilated, scenes=SCENES):
    return [
        *rows(method, scenes, (LENS,), (-4,), psnr=eroded),
        *rows(method, scenes, (LENS,), (4,), psnr=dilated),
    ]


def test_scenes_with_and_without_clipped_lamps_are_told_apart(claims):
    without = [scene for scene in SCENES if scene not in LIT]
    mine = exact(MINI, 33.0, without) + exact(MINI, 27.0, LIT)
    table = claims(mine, exact(RIVAL, 30.0)).loc["exact"]
    assert list(table.index) == ["no clipped lamps", "clipped lamps", "all"]
    assert table["psnr_difference"].tolist() == pytest.approx([3, -3, 1])
    assert table["psnr_method"].tolist() == pytest.approx([33, 27, 31])
    assert table["psnr_verdict"].tolist()[:2] == ["better", "worse"]
    assert table["images"].tolist() == [64, 32, 96]


def test_the_interval_is_that_of_paired_differences_clustered_by_scene(claims):
    rng = np.random.default_rng(0)
    luck = {scene: rng.normal() for scene in SCENES}
    mine = [
        row | {"psnr": round(30 + luck[row["image"]] + rng.normal(), 3)} for row in exact(MINI, 0)
    ]
    gains = [row["psnr"] - 30 for row in mine]
    wanted = paired_difference(gains, [0] * len(gains), [row["image"] for row in mine])
    found = claims(mine, exact(RIVAL, 30.0)).loc[("exact", "all")]
    shown = found[["psnr_difference", "psnr_low", "psnr_high"]].tolist()
    assert shown == pytest.approx(list(wanted[:3]))
    assert found["psnr_verdict"] == wanted.verdict


def test_only_pictures_that_both_have_count_and_less_lpips_is_better(claims):
    mine = exact(MINI, 31.0, SCENES[1:], lpips_alex=0.15) + exact(MINI, 99.0, ("another",))
    found = claims(mine, exact(RIVAL, 30.0, lpips_alex=0.2)).loc[("exact", "all")]
    assert found[["psnr_method", "psnr_scatter", "images"]].tolist() == [31, 30, 92]
    assert found["lpips_percent"] == pytest.approx(-25)
    assert found["lpips_verdict"] == "better"


def test_path_traced_scenes_have_no_rows_by_lamps(claims):
    made = [row | {"dataset": "rendered"} for row in exact(MINI, 31.0) + exact(RIVAL, 30.0)]
    table = claims(made, dataset="rendered")
    assert table.loc["exact"].index.tolist() == ["all"]
    assert table.loc[("exact", "all"), "psnr_difference"] == pytest.approx(1)


def test_a_loss_is_against_the_methods_own_exact_scores_of_the_same_lens(claims):
    others = (0, 1, 3)
    mine = rows(MINI, SCENES, (LENS,), psnr=30.0) + rows(MINI, SCENES, others, psnr=10.0)
    rival = rows(RIVAL, SCENES, (LENS,), psnr=32.0) + rows(RIVAL, SCENES, others, psnr=50.0)
    table = claims(mine, rival, wrong(MINI, 28.0, 29.0), wrong(RIVAL, 26.0, 31.0))
    table = table.loc[["±4 px", "eroded 4 px", "dilated 4 px"]]
    assert table["psnr_method"].tolist() == [28.5, 28, 29]
    assert table["psnr_difference"].tolist() == pytest.approx([0, 2, -2])
    assert table["loss_method"].tolist() == pytest.approx([1.5, 2, 1])
    assert table["loss_scatter"].tolist() == pytest.approx([3.5, 6, 1])
    assert table["images"].tolist() == [24] * 3


def test_the_mean_of_both_signs_needs_both_and_what_was_not_measured_says_so(claims):
    eroded = [row for row in wrong(MINI, 28.0, 29.0) if row["perturbation"] < 0]
    table = claims(exact(MINI, 30.0), exact(RIVAL, 30.0), eroded, wrong(RIVAL, 26.0, 31.0))
    assert table.loc[("eroded 4 px", "all"), "psnr_method"] == 28
    assert np.isnan(table.loc[("±4 px", "all"), "psnr_method"])
    shown = tables.display(table.reset_index())
    assert shown.loc[shown["Disparity"] == "±4 px", "PSNR difference ↑"].tolist() == ["not run"]
