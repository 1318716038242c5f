"""Laws of the documents: what they name exists, and their numbers are the measured ones."""

import ast
import itertools
import re
import shlex
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch
from snakemake.cli import parse_args

import bokehlib
from bokehlib import study
from bokehlib.classical import scattering
from bokehlib.cli import commands
from bokehlib.extras.pathtracing import __main__ as pathtracing
from bokehlib.io import animation, disparity_maps, images, photographic, photos
from bokehlib.io.places import ROOT
from bokehlib.optics import Lens, circle_of_confusion, token_radius
from bokehlib.study import readme

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
LABELS = {
    *(f"P{n}" for n in range(1, 14)),
    *(f"B{n}" for n in range(1, 27)),
    *(f"D{n}" for n in range(1, 13)),
    *(f"X{n}" for n in range(1, 9)),
    *(f"S{n}" for n in range(1, 10)),
}
PROGRAMS = {
    "bokehlib.extras.pathtracing": pathtracing.command_line,
}
LACKING = "not part of this version: "

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def divergences() -> list[list[str]]:
    text = (ROOT / "docs" / "divergences.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| [PBDXS]\d+ \|", line)]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def shell_lines(page: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


# --- Divergences -----------------------------------------------------------------------------


def test_every_divergence_is_decided_exactly_once():
    assert Counter(row[0] for row in divergences()) == Counter(LABELS)


@pytest.mark.parametrize("row", divergences(), ids=lambda row: row[0])
def test_every_decision_is_pinned_by_a_test_or_says_what_is_missing(row):
    _, theirs, ours, pins = row
    assert theirs
    assert ours
    if pins.startswith(LACKING):
        assert len(pins) > len(LACKING)
        return
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", pins)
    assert named
    assert re.sub(r"`test_\w+\.py::test_\w+`", "", pins).strip(", ") == ""
    for file, name in named:
        assert name in names_in(file), f"{file} has no {name}"


# --- What the pages name ---------------------------------------------------------------------


@each_page
def test_every_file_that_a_page_points_to_exists(page):
    text = page.read_text(encoding="utf-8")
    links = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in t]
    missing = [link for link in links if not (page.parent / link).exists()]
    quoted = re.findall(r"\b(?:docs|notebooks|tests|bokehlib)/[\w/.-]+\.\w+", text)
    made_up = {"bokehlib/baselines/mean.py"}  # the example of add-a-method.md
    missing += [file for file in set(quoted) - made_up if not (ROOT / file).exists()]
    assert missing == []


@each_page
def test_every_command_is_one_that_the_program_accepts(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in shell_lines(page):
        words = shlex.split(re.sub(r"^[A-Z_]+=\S+ ", "", line), comments=True)
        if words[:2] == [".venv/bin/accelerate", "launch"]:
            words = [".venv/bin/python", *words[words.index("-m") :]]
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), line
        elif words[0] in ("cp", "mkdir"):
            assert all("results/runs/" in place for place in words[1:] if place[0] != "-")
        elif words[0] == ".venv/bin/papermill":
            given = [name for flag, name in itertools.pairwise(words) if flag == "-p"]
            source = (ROOT / words[1]).read_text(encoding="utf-8")
            assert given
            assert all(f'"{name}: ' in source for name in given), line
        elif words[0] == ".venv/bin/snakemake":
            _, asked = parse_args(words[1:])
            assert set(asked.targets) <= set(study.OUTPUTS), line
            assert {word.split("=")[0] for word in asked.config or []} <= {"photos", "train"}, line
        elif words[2] in PROGRAMS:
            PROGRAMS[words[2]]().parse_args(words[3:])
        else:
            assert words[:3] == [".venv/bin/python", "-m", "bokehlib"], line
            commands._parse(words[3:])


@each_page
def test_every_table_and_figure_that_a_command_names_is_one(page):
    for found in re.findall(r"bokehlib study ([\w ]+)`", page.read_text(encoding="utf-8")):
        assert set(found.split()) <= set(study.OUTPUTS)


@each_page
def test_every_python_example_is_valid_and_imports_what_is_there(page):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        tree = ast.parse("{" + block + "}" if block.startswith('"mean":') else block)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(ast.unparse(node), {})


def test_the_readme_lists_every_notebook():
    text = README.read_text(encoding="utf-8")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{notebook.name})" in text


def test_the_readme_shows_what_was_measured():
    found = readme.shown(README.read_text(encoding="utf-8"))
    assert found == readme.table(), "call `bokehlib.study.readme.update()`"


# --- Numbers in the pages --------------------------------------------------------------------


def test_the_portrait_of_the_units_page_has_the_radii_it_says():
    text = (ROOT / "docs" / "units.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (0\.\d+) \| .* = (\d+) px \|$", text, re.MULTILINE)
    assert [name for name, *_ in rows] == ["face", "wall", "hand"]
    lens = Lens(0.8, 30 / abs(0.3 - 0.8))
    disparity = torch.tensor([float(d) for _, d, _ in rows]).view(1, 1, 1, 3)
    radii = circle_of_confusion(disparity, lens).flatten().tolist()
    assert radii == pytest.approx([float(radius) for *_, radius in rows], abs=1e-4)
    wall = torch.full((1, 1, 32, 32), 0.3)
    large, small = (token_radius(wall, lens, (2, 2)), token_radius(wall, lens.scaled(0.5), (4, 4)))
    assert large.unique().item() == pytest.approx(small.unique().item()) == pytest.approx(30 / 16)
    assert "30/16 = 15/8 = 1.9 tokens" in text


def test_the_real_lens_of_the_units_page_has_the_aperture_it_says():
    text = (ROOT / "docs" / "units.md").read_text("utf-8")
    near, pixel = 1.5, 36 / 1536
    assert photographic.distance(near / 2, near) == pytest.approx(2)
    aperture = photographic.aperture(near / 2, 50, 2, pixel, near)
    by_the_page = 2500 * 2000 / (2 * 2 * 1950 * pixel * 1500)
    assert aperture == pytest.approx(by_the_page)
    assert f"p = {pixel:.4f} mm" in text
    assert f"= {aperture:.0f} px per unit" in text
    blur = circle_of_confusion(torch.tensor(near / 6).view(1, 1, 1, 1), Lens(near / 2, aperture))
    assert blur.item() == pytest.approx(photographic.blur_radius(6, 2, 50, 2, pixel))
    assert f"{photographic.FILM_DIAGONAL:.2f} mm · true / equivalent" in text


def test_a_range_of_distances_that_is_off_changes_every_radius_alike():
    exact, off = (
        photographic.aperture(0.5, 50, 2, 0.02, near, 20) for near in (1.5, 1 / (1 / 1.5 * 1.1))
    )
    change = (1.1 / 1.5 - 1 / 20) / (1 / 1.5 - 1 / 20)
    assert off / exact == pytest.approx(change, rel=0.005)  # the rest is z_f / (z_f - f)


def test_the_range_in_focus_of_the_units_page_has_the_radius_it_says():
    text = (ROOT / "docs" / "units.md").read_text("utf-8")
    assert "With f = 0.80, l = 0.75, h = 0.85 and an aperture of 60" in text
    flat = photographic.flatten(torch.tensor([0.3, 0.78]).view(1, 1, 1, 2), 0.8, 0.75, 0.85)
    wall, face = circle_of_confusion(flat, Lens(0.8, 60)).flatten().tolist()
    assert (wall, face) == (pytest.approx(27, abs=1e-4), 0)
    assert "60 · 0.45 = 27 px instead of 30" in text


# --- The page on photos ----------------------------------------------------------------------


def test_the_page_on_photos_names_every_kind_of_map_and_the_size_of_animations():
    text = (ROOT / "docs" / "own-photos.md").read_text("utf-8")
    named = set(re.findall(r"--disparity-kind (\w+)", text))
    assert named == set(disparity_maps.KINDS) - {"disparity"}
    assert f"at most {animation.LONGEST} px" in text


def test_the_python_example_of_the_page_on_photos_runs(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "own-photos.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bokehlib, "load", lambda name: scattering.scatter, raising=False)
    ramp = torch.linspace(0, 1, 24).expand(16, 24).numpy()
    photos.write("photo.jpg", ramp[..., None].repeat(3, -1))
    images.write_disparity("disparity.png", ramp)
    exec(compile(example, "own-photos.md", "exec"), {})
    assert sorted(path.name for path in tmp_path.glob("focus_*.png")) == [
        "focus_0.3.png", "focus_0.6.png", "focus_0.9.png"
    ]  # fmt: skip
