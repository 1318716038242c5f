"""Laws of Tables 2 and 2b: several trainings of a recipe, LoRA and whole U-Net, differences."""

import numpy as np
import pandas as pd
import pytest
from made_up import rows

from bokehlib import study
from bokehlib.study import results, tables

IMAGES = tuple(f"s{number}" for number in range(6))


def frame(*made):
    """Score rows as `results.read_scores` gives them."""
    table = pd.DataFrame([row for rows in made for row in rows]).reindex(columns=results.COLUMNS)
    return table.astype({"perturbation": "str"})


def trained(recipe, gains, whole="", psnr=30.0, lpips=0.1, images=IMAGES):
    """Score rows of a training for every seed, `gains` being its luck in dB."""
    made = []
    for seed, gain in dict(gains).items():
        for number, image in enumerate(images):
            metrics = {"psnr": psnr + gain + number, "lpips_alex": lpips}
            made += rows(f"{recipe}{whole}-s{seed}", (image,), **metrics)
    return made


def table2(*made):
    return tables.ablation(frame(*made), results.published("table2_ablation"))


def row(table, setting, tuned="LoRA"):
    return table[(table["setting"] == setting) & (table["tuned"] == tuned)].iloc[0]


# --- Several trainings -----------------------------------------------------------------------


def test_a_recipes_numbers_are_means_over_its_trainings_which_are_counted():
    found = row(table2(trained("no_coc", {0: 0.0, 1: 1.0, 7: 5.0})), "w/o CoC")
    assert found["psnr"] == pytest.approx(30 + 2.5 + 2)
    assert found["trainings"] == 3
    assert found["images"] == 12


def test_a_difference_to_the_complete_model_pairs_images_and_seeds():
    full = trained("full", {0: 0.0, 1: 2.0, 2: 4.0})
    found = row(table2(full, trained("no_coc", {0: 1.0, 1: 3.0, 2: 5.0}, lpips=0.08)), "w/o CoC")
    assert found[["psnr_difference", "psnr_low", "psnr_high"]].tolist() == pytest.approx([1] * 3)
    assert found[["lpips_percent", "lpips_low"]].tolist() == pytest.approx([-20, -20])
    assert (found["psnr_verdict"], found["lpips_verdict"]) == ("better", "better")


def test_what_one_lucky_seed_gained_is_not_shown_for_the_recipe():
    full = trained("full", dict.fromkeys(range(3), 0.0))
    lucky = trained("no_coc", {0: 0.9, 1: -0.1, 2: -0.2})
    assert row(table2(full, lucky), "w/o CoC")["psnr_verdict"] == "no difference shown"
    alone = row(table2(full, trained("no_coc", {0: 0.9})), "w/o CoC")
    assert alone["psnr_verdict"] == "better"


def test_only_seeds_and_scenes_that_both_recipes_have_are_compared():
    full = trained("full", {0: 9.0, 1: 0.0, 2: 0.0})
    other = trained("no_coc", {1: 1.0, 2: 1.0, 3: -9.0})
    missing = [r for r in other if (r["method"], r["image"]) != ("no_coc-s2", "s0")]
    missing[0] = missing[0] | {"psnr": 99.0}  # of s0, which seed 2 lacks
    assert row(table2(full, missing), "w/o CoC")["psnr_difference"] == pytest.approx(1)


def test_recipes_that_share_no_seed_are_not_compared_and_a_single_scene_has_no_interval():
    apart = row(table2(trained("full", {0: 0.0}), trained("no_coc", {1: 1.0})), "w/o CoC")
    assert np.isnan(apart["psnr_difference"])
    one = [
        trained(name, {0: gain}, images=("s0",)) for name, gain in {"full": 0, "no_coc": 1}.items()
    ]
    found = row(table2(*one), "w/o CoC")
    assert found["psnr_difference"] == pytest.approx(1)
    assert found[["psnr_low", "psnr_high", "psnr_verdict"]].isna().all()


# --- What is tuned ---------------------------------------------------------------------------


def test_whole_u_nets_are_a_block_of_their_own_compared_within_it_and_without_the_papers_numbers():
    lora = trained("full", {0: 0.0}), trained("no_coc", {0: -1.0})
    whole = trained("full", {0: 5.0}, "-whole"), trained("no_coc", {0: 8.0}, "-whole")
    table = table2(*lora, *whole)
    assert table["tuned"].tolist() == ["LoRA"] * 10 + ["whole U-Net"] * 10
    assert table["setting"].tolist() == [*study.ABLATION_LABELS.values()] * 2
    gains = [row(table, "w/o CoC", tuned)["psnr_difference"] for tuned in table["tuned"].unique()]
    assert gains == pytest.approx([-1, 3])
    paper = table.filter(like="_paper")
    assert paper[:10].notna().all(axis=None)
    assert paper[10:].isna().all(axis=None)


def test_the_best_of_each_block_is_bold():
    lora = trained("full", {0: 0.0}), trained("no_coc", {0: -1.0})
    whole = trained("full", {0: 5.0}, "-whole"), trained("no_coc", {0: 8.0}, "-whole")
    shown = tables.markdown(table2(*lora, *whole), "table2_ablation")
    assert "**32.500**" in shown
    assert "**40.500**" in shown
    assert "**37.500**" not in shown


def test_table_2b_is_compared_with_pisa_as_the_paper_has_it():
    made = frame(trained("physics-paper", {0: 0.0}), trained("physics-thin_lens", {0: 2.0}))
    table = tables.physics(made).set_index("setting")
    assert table.loc['PISA, visibility "thin_lens"', "psnr_difference"] == pytest.approx(2)
    assert np.isnan(table.loc['PISA, visibility "paper"', "psnr_difference"])


# --- Beside the other tables -----------------------------------------------------------------


def test_trainings_of_a_recipe_are_rows_of_no_other_table(monkeypatch):
    made = frame(trained("full", {0: 0.0}), rows("scatter"))
    before = others(made)
    monkeypatch.setitem(study.METHODS, "full-s0", study.Method("Full", "a training"))
    for one, other in zip(before, others(made), strict=True):
        pd.testing.assert_frame_equal(one, other)


def others(made):
    names = ("tableS2", "speed", "claims")
    return [tables.build(name, made, results.published(name)) for name in names]


# --- Text ------------------------------------------------------------------------------------


def cells(table, setting):
    """The texts of a row under their headings."""
    shown = tables.display(table, bold="{}")
    return shown[shown["Setting"] == setting].iloc[0]


def test_a_difference_reads_with_its_interval_and_verdict_in_one_cell():
    full = trained("full", {0: 0.0, 1: 0.0})
    table = table2(full, trained("no_coc", {0: 1.0, 1: 1.0}, lpips=0.125))
    shown = cells(table, "w/o CoC")
    assert shown["PSNR difference ↑"] == "+1.00 [+1.00, +1.00] better"
    assert shown["LPIPS-Alex difference, % ↓"] == "+25.0 [+25.0, +25.0] worse"
    assert shown["Trainings"] == "2"
    assert not [heading for heading in shown.index if "low" in heading or "verdict" in heading]


def test_the_complete_models_own_difference_is_a_dash_and_what_was_not_measured_is_not_run():
    table = table2(trained("full", {0: 0.0}))
    shown = cells(table, "Complete model"), cells(table, "w/o CoC")
    assert [row["PSNR difference ↑"] for row in shown] == ["–", "not run"]


def test_latex_escapes_what_it_would_take_for_its_own():
    shown = tables.latex(table2(trained("full", {0: 0.0})), "table2_ablation")
    assert "%" in shown
    assert "%" not in shown.replace(r"\%", "")
    assert "_" not in shown.replace(r"\_", "")
