"""The study's data agree with the paper, and the project with its own rules."""

import re
import subprocess
import sys
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from pkgutil import resolve_name
from shutil import which

import pytest
import yaml

from bokehlib import data, methods, study
from bokehlib.io.places import ROOT
from bokehlib.study.results import published, read_provenance


def differences(recipe, base=study.FULL, prefix=""):
    """Fields in which two recipes differ: dotted name -> value."""
    found = {}
    for field in fields(recipe):
        value, other = getattr(recipe, field.name), getattr(base, field.name)
        if is_dataclass(value):
            found |= differences(value, other, f"{prefix}{field.name}.")
        elif value != other:
            found[prefix + field.name] = value
    return found


# --- Recipes ---------------------------------------------------------------------------------


def test_the_default_recipe_is_the_papers_complete_model():
    recipe = study.Recipe()
    weights = recipe.weights
    assert (weights.mse, weights.perceptual, weights.edge, weights.adversarial) == (1, 5, 1, 0.5)
    assert (recipe.timestep, recipe.rank, recipe.batch_size) == (499, 8, 2)
    assert recipe.learning_rate == 1e-4
    assert recipe.perceptual_net == "vgg"
    assert recipe.lora_blocks == recipe.pisa.sites == ("down_blocks",)
    assert (recipe.pisa.normalise, recipe.pisa.coc, recipe.pisa.occlusion) == (
        "queries",
        True,
        True,
    )
    assert recipe.pisa.visibility == "paper"
    beyond = (recipe.detail, recipe.optics_channels, recipe.classical, recipe.whole, recipe.fine)
    assert not any((*beyond, recipe.pisa.divide_by_coverage))


def test_each_ablation_differs_from_the_complete_model_by_what_it_names():
    assert {name: differences(recipe) for name, recipe in study.ABLATIONS.items()} == {
        "no_adv": {"weights.adversarial": 0},
        "no_vgg": {"weights.perceptual": 0},
        "no_edge": {"weights.edge": 0},
        "fixed_encoder": {"encoder": "fixed"},
        "no_coc": {"pisa.coc": False},
        "no_softmax_q": {"pisa.normalise": "keys"},
        "no_occlusion": {"pisa.occlusion": False},
        "t249": {"timestep": 249},
        "t749": {"timestep": 749},
        "full": {},
    }


def test_the_ten_ablations_stand_in_the_printed_order():
    printed = published("table2_ablation")["method"].drop_duplicates()
    assert [study.ABLATION_LABELS[name] for name in study.ABLATIONS] == list(printed)
    assert len(printed) == 10


def test_each_recipe_beyond_the_paper_differs_from_the_papers_by_what_it_names():
    assert {
        name: differences(recipe, study.MINI_PAPER) for name, recipe in study.BEYOND.items()
    } == {
        "mini_rank8": {"rank": 8},
        "mini_rank32": {"rank": 32},
        "mini_detail": {"detail": True},
        "mini_channels": {"optics_channels": True},
        "mini_thin_lens": {"pisa.visibility": "thin_lens"},
        "mini_fine": {"fine": True},
        "mini_fine_plain": {"fine": True, "pisa.sites": ("down_blocks.1.", "down_blocks.2.")},
        "mini_residual": {"optics_channels": True, "classical": True},
        "mini_confined": {"optics_channels": True, "classical": True, "detail": True},
        "mini_whole": {"whole": True},
        "mini_disturbed": {"disturbed": 4.0},
    }


def test_the_default_corrects_the_classical_render_and_has_seen_wrong_disparities():
    changed = differences(study.MINI, study.BEYOND["mini_residual"])
    training = {"batch_size": 32, "learning_rate": 1e-3, "steps": study.MINI.steps}
    beyond = {"detail": True, "refined": True, "disturbed": 4.0}
    assert changed == beyond | {"encoder": "fixed"} | training


def test_the_rows_of_table_2b_differ_in_their_attention_alone():
    base = study.BEYOND["mini_channels"]
    assert {name: differences(recipe, base) for name, recipe in study.PHYSICS.items()} == {
        "physics-plain": {"pisa.sites": ()},
        "physics-keys": {"pisa.normalise": "keys", "pisa.occlusion": False},
        "physics-no_visibility": {"pisa.occlusion": False},
        "physics-paper": {},
        "physics-thin_lens": {"pisa.visibility": "thin_lens"},
        "physics-thin_lens-coverage": {
            "pisa.visibility": "thin_lens",
            "pisa.divide_by_coverage": True,
        },
    }


def test_all_trainings_of_the_tables_are_alike_but_for_what_their_names_say():
    alike = {"learning_rate", "warmup_steps", "batch_size", "steps", "perceptual_net"}
    for name, recipe in study.TRAININGS.items():
        parts = study.TRAINING.match(name)
        whole = recipe.whole and not study.RECIPES[parts["recipe"]].whole
        assert name == study.trained_name(parts["recipe"], recipe.seed, whole)
        changed = differences(recipe, study.RECIPES[parts["recipe"]])
        assert {*changed} <= {*alike, "whole", "seed"}
        assert {getattr(recipe, key) for key in alike} == {
            getattr(study.TRAININGS["full-s0"], key) for key in alike
        }
    assert len({repr(recipe) for recipe in study.TRAININGS.values()}) == len(study.TRAININGS)


def test_a_training_is_a_method_whose_adapter_carries_its_name():
    assert study.method("no_coc-s1").weights[1] == "no_coc-s1.safetensors"
    assert "no weights nothing-s0.safetensors" in methods.lacks("nothing-s0")
    with pytest.raises(KeyError):
        study.method("full")


def test_every_recipe_has_a_name_of_its_own():
    own = ("as_published", "mini", "mini_paper")
    parts = (study.ABLATIONS, own, study.BEYOND, study.PHYSICS)
    assert len(study.RECIPES) == sum(map(len, parts))


# --- Methods, tables and figures -------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, m in study.METHODS.items() if m.loader])
def test_every_loader_resolves_to_a_function(name):
    assert callable(resolve_name(study.METHODS[name].loader))


def test_whatever_is_scored_is_a_known_method_on_a_known_data_set():
    for output in study.OUTPUTS.values():
        for need in output.scores:
            assert study.method(need.method)
            assert need.dataset in {*study.DATASETS, *data.PUBLISHED}


def test_by_their_provenance_all_methods_score_the_benchmark_in_twenty_minutes_of_two_cores():
    needs = study.OUTPUTS["tableS2"].scores
    found = [read_provenance(need.dataset, need.method) for need in needs]
    seconds = [made["wall_seconds"] for made in found if made.get("device") == "cpu"]
    assert sum(seconds) < 20 * 60


def test_radius_zero_and_both_signs_are_among_the_robustness_radii():
    assert list(study.ROBUSTNESS_RADII) == sorted(study.ROBUSTNESS_RADII)
    assert 0 in study.ROBUSTNESS_RADII
    assert {-r for r in study.ROBUSTNESS_RADII} == set(study.ROBUSTNESS_RADII)


# --- Rules of the project --------------------------------------------------------------------


def test_pins_are_exact_and_stand_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pins = [*extras["study"], *extras["workflow"], *extras["dev"]]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"][-1] == {"pip": ["-e .[study,dev]"]}
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    names = [pin.split("==")[0].lower() for pin in pins]
    assert len(set(names)) == len(names)
    required = {re.split(r"[<>=]", entry)[0].lower() for entry in project["dependencies"]}
    assert required <= set(names)


def test_tables_and_figures_and_the_plan_load_without_torch():
    modules = "study, data, methods, cli"
    parts = "results, figures, tables, runner, pictures, speed, statistics"
    code = (
        f"import sys; import bokehlib; from bokehlib import {modules}; "
        "from bokehlib.extras.user_study import page, ratings, tests; "
        f"from bokehlib.study import {parts}; from bokehlib.io import disparity_maps, photos; "
        "print([name for name in ('torch', 'diffusers', 'kornia') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
    ],
    ids=" ".join,
)
def test_the_code_passes(command):
    program, *arguments = command
    beside_python = which(program, path=Path(sys.executable).parent)
    assert beside_python, f"{program} is not installed: pip install -e '.[dev]'"
    run = subprocess.run([beside_python, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
