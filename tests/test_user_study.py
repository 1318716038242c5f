"""Laws of the study's page as a file: blind, self-contained, the same twice, or refused."""

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from made_up import cases
from PIL import Image

from bokehlib import images, ratings, study
from bokehlib.errors import InputError
from bokehlib.extras.user_study import page, rendered
from bokehlib.extras.user_study.cases import read_cases

TITLE = "Which blur?"


def content(text):
    """The study inside a page."""
    (found,) = re.findall(r'<script type="application/json" id="study">(.*?)</script>', text)
    return json.loads(found)


def pictures(text):
    """Every picture of the page, with the size that it has there."""
    return [
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r"data:image/\w+;base64,([\w+/=]+)", text)
    ]


# --- The page --------------------------------------------------------------------------------


def test_the_page_has_every_picture_and_the_key_says_which_is_which():
    made = cases()
    text, key = page.build(made, TITLE, checks=1)
    shown = content(text)
    assert key.study == shown["id"]
    assert key.expected == 2 * 3
    for case, entry in zip(made, shown["cases"], strict=True):
        assert entry["name"] == case.name
        codes = {result["code"]: result["image"] for result in entry["results"]}
        assert set(codes) == set(key.cases[case.name])
        for code, method in key.cases[case.name].items():
            (picture,) = pictures(codes[code])
            np.testing.assert_allclose(
                np.asarray(picture) / 255, case.results[method], atol=1 / 255
            )


def test_the_page_names_no_method_and_its_pictures_carry_nothing_beside_pixels():
    text, key = page.build(cases(), TITLE, checks=1)
    assert not [name for name in study.METHODS if name != "input" and name in text.lower()]
    assert len({*key.cases["c1"]} & {*key.cases["c2"]}) < 3  # no code stands for one method
    for picture in pictures(text):
        assert not {"exif", "xmp", "icc_profile"} & set(picture.info)


def test_nothing_is_loaded_from_elsewhere():
    text, _ = page.build(cases(), TITLE, checks=1)
    assert "default-src 'none'" in text
    assert not re.findall(r"(?:src|href)=\"(?!data:)[^\"]+\"", text)
    assert not re.findall(r"https?://|fetch\(|XMLHttpRequest|sendBeacon|import\(|url\(", text)


def test_the_definitions_are_the_papers_own_words(shared):
    paper = " ".join((shared / "paper.txt").read_text(encoding="utf-8").split())
    paper = paper.replace("(i) accu- racy", "(i) accuracy")
    for words in ("accuracy", "authenticity"):
        assert f"{words}, {ratings.ASPECTS[words][1]}" in paper
    assert "or simply (iii) preference as users" in paper
    text, _ = page.build(cases(), TITLE, checks=1)
    assert [aspect["words"] for aspect in content(text)["aspects"]] == [
        words for _, words in ratings.ASPECTS.values()
    ]


def test_the_same_arguments_give_the_same_bytes_and_any_change_another_study():
    text, key = page.build(cases(), TITLE, checks=1)
    assert page.build(cases(), TITLE, checks=1) == (text, key)
    changed = [
        page.build(cases(seed=1), TITLE, checks=1),
        page.build(cases(), "Other", checks=1),
        page.build(cases(), TITLE, checks=0),
        page.build(cases(), TITLE, "all", checks=1),
        page.build(cases(), TITLE, checks=1, seed=1),
    ]
    assert len({key.study, *(other.study for _, other in changed)}) == 6


def test_titles_and_names_cannot_break_the_page():
    evil = '</script><b>"&'
    text, key = page.build(cases((evil, "c2")), evil, checks=1)
    assert evil not in text
    assert content(text)["cases"][0]["name"] == evil
    assert re.fullmatch(r"[a-z0-9-]+", key.study)


def test_wide_pictures_are_made_smaller_alike_and_others_stay(tmp_path):
    text, _ = page.build(cases(size=(40, 100)), TITLE, checks=1, width=50)
    assert {picture.size for picture in pictures(text)} == {(50, 20)}
    text, _ = page.build(cases(size=(40, 100)), TITLE, checks=1)
    assert {picture.size for picture in pictures(text)} == {(100, 40)}


def test_page_and_key_are_written_side_by_side(tmp_path):
    text, key = page.build(cases(), TITLE, checks=1)
    path = page.write(tmp_path, text, key)
    assert path.read_text(encoding="utf-8") == text
    assert [p.name for p in sorted(path.parent.iterdir())] == [
        "index.html",
        f"{key.study}.key.json",
    ]
    assert ratings.Key(**json.loads(path.with_name(f"{key.study}.key.json").read_text())) == key


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"form": "some"}, "form: found 'some'; accepted: drawn, all"),
        ({"checks": 2}, "checks: found 2; accepted: 0 to 1"),
        ({"checks": -1}, "checks: found -1"),
        ({"width": 0}, "width: found 0"),
        ({"title": " "}, "title: found none"),
        ({"cases": cases(methods=("scatter",))}, "found 1 methods; accepted: two or more"),
        ({"cases": cases() + cases(("c3",), ("scatter", "mpib"))}, "found drbokeh in some cases"),
    ],
)
def test_what_makes_no_study_is_refused(arguments, complaint):
    given = {"cases": cases(), "title": TITLE, "checks": 1} | arguments
    with pytest.raises(InputError, match=complaint):
        page.build(**given)


def test_a_large_page_has_jpegs_and_a_larger_one_is_refused_with_a_way_out(monkeypatch):
    made = cases(size=(200, 200))
    monkeypatch.setattr(page, "LARGEST", len(page.build(made, TITLE, checks=1)[0]) - 1)
    text, key = page.build(made, TITLE, checks=1)
    assert key.pictures == "JPEG 95, 4:4:4"
    assert {picture.format for picture in pictures(text)} == {"JPEG"}
    monkeypatch.setattr(page, "LARGEST", len(text) - 1)
    with pytest.raises(InputError, match="page of 1 MB; accepted: up to 1 MB, with fewer cases"):
        page.build(made, TITLE, checks=1)


# --- Any set of pictures ---------------------------------------------------------------------


def write(folder, made, suffix=".png"):
    for case in made:
        for name, picture in {"input": case.photo, **case.results}.items():
            (folder / case.name).mkdir(parents=True, exist_ok=True)
            images.write_image(folder / case.name / f"{name}{suffix}", picture)


def test_a_folder_of_pictures_becomes_cases_in_the_order_of_their_names(tmp_path):
    made = cases(("b", "a"))
    write(tmp_path, made)
    (tmp_path / "notes.txt").write_text("not a case")
    read = read_cases(tmp_path)
    assert [case.name for case in read] == ["a", "b"]
    assert set(read[0].results) == {"scatter", "drbokeh", "mpib"}
    np.testing.assert_allclose(read[1].photo, made[0].photo, atol=1 / 255)


def test_folders_that_are_no_study_are_refused(tmp_path):
    with pytest.raises(InputError, match="found no folder"):
        read_cases(tmp_path / "none")
    with pytest.raises(InputError, match="found no case"):
        read_cases(tmp_path)
    (one,) = cases(("a",))
    write(tmp_path, [replace(one, results=one.results | {"mpib": one.photo[:, :-1]})])
    with pytest.raises(InputError, match=r"found 47x32 pixels for mpib; accepted: .* 48x32"):
        read_cases(tmp_path)
    images.write_image(tmp_path / "a" / "mpib.jpg", one.photo)
    with pytest.raises(InputError, match="mpib twice"):
        read_cases(tmp_path)
    (tmp_path / "a" / "mpib.jpg").unlink()
    (tmp_path / "a" / "input.png").unlink()
    with pytest.raises(InputError, match="found no input in"):
        read_cases(tmp_path)


def test_without_pictures_every_ready_method_renders_the_same_photographs():
    assert "input" not in rendered.renderers()
    assert set(rendered.SMOKE) < set(rendered.SHOTS)
    for _, focus, opening in rendered.SHOTS.values():
        assert 0 <= focus <= 1
        assert 0 < opening < 0.15
