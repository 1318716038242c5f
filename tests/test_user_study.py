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

from bokehlib import study
from bokehlib.extras.user_study import page, ratings
from bokehlib.io import images
from bokehlib.io.errors import InputError

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


def test_the_page_has_every_picture_and_the_key_says_which_is_which(tmp_path):
    made = cases()
    text, key = page.build(made, TITLE, checks=1)
    shown = content(text)
    assert key.study == shown["id"]
    assert key.expected == 2 * 3
    for case, entry in zip(made, shown["cases"], strict=True):
        codes = {result["code"]: result["image"] for result in entry["results"]}
        assert set(codes) == set(key.cases[case.name])
        for code, method in key.cases[case.name].items():
            (picture,) = pictures(codes[code])
            drawn = np.asarray(picture) / 255
            np.testing.assert_allclose(drawn, case.results[method], atol=1 / 255)
    path = page.write(tmp_path, text, key)
    assert path.read_text(encoding="utf-8") == text
    written = path.with_name(f"{key.study}{ratings.KEY}").read_text(encoding="utf-8")
    assert ratings.Key(**json.loads(written)) == key


def test_the_page_names_no_method_and_loads_nothing_from_elsewhere():
    text, key = page.build(cases(), TITLE, checks=1)
    assert not [name for name in study.METHODS if name != "input" and name in text.lower()]
    assert len({*key.cases["c1"]} & {*key.cases["c2"]}) < 3  # no code stands for one method
    for picture in pictures(text):
        assert not {"exif", "xmp", "icc_profile"} & set(picture.info)
    assert "default-src 'none'" in text
    assert not re.findall(r"(?:src|href)=\"(?!data:)[^\"]+\"", text)
    assert not re.findall(r"https?://|fetch\(|XMLHttpRequest|sendBeacon|import\(|url\(", text)


def test_the_definitions_are_the_papers_own_words(shared):
    paper = " ".join((shared / "paper.txt").read_text(encoding="utf-8").split())
    paper = paper.replace("(i) accu- racy", "(i) accuracy")
    for words in ("accuracy", "authenticity"):
        assert f"{words}, {ratings.ASPECTS[words][1]}" in paper
    assert "or simply (iii) preference as users" in paper


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


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"form": "some"}, "form: found 'some'; accepted: drawn, all"),
        ({"checks": 2}, "checks: found 2; accepted: 0 to 1"),
        ({"width": 0}, "width: found 0"),
        ({"title": " "}, "title: found none"),
        ({"cases": cases(methods=("scatter",))}, "found 1 methods; accepted: two or more"),
        ({"cases": cases() + cases(("c3",), ("scatter", "mpib"))}, "found drbokeh in some cases"),
        (
            {"cases": [replace(case, photo=case.photo[1:]) for case in cases()]},
            r"found \(32, 48, 3\) for scatter",
        ),
    ],
)
def test_cases_and_options_that_make_no_study_are_refused(arguments, complaint):
    given = {"cases": cases(), "title": TITLE, "checks": 1} | arguments
    with pytest.raises(InputError, match=complaint):
        page.build(**given)


def test_a_large_page_has_scaled_pictures_or_jpegs_and_a_larger_one_is_refused(monkeypatch):
    made = cases(size=(80, 200))
    assert {p.size for p in pictures(page.build(made, TITLE, width=50, checks=1)[0])} == {(50, 20)}
    monkeypatch.setattr(page, "LARGEST", len(page.build(made, TITLE, checks=1)[0]) - 1)
    text, key = page.build(made, TITLE, checks=1)
    assert key.pictures == "JPEG 95, 4:4:4"
    assert {(p.format, p.size) for p in pictures(text)} == {("JPEG", (200, 80))}
    monkeypatch.setattr(page, "LARGEST", len(text) - 1)
    with pytest.raises(InputError, match=r"found a page of .* MB; accepted: .* with fewer cases"):
        page.build(made, TITLE, checks=1)


def test_a_folder_of_pictures_becomes_cases_in_the_order_of_their_names(tmp_path):
    for place, complaint in {tmp_path / "none": "no folder", tmp_path: "no case"}.items():
        with pytest.raises(InputError, match=f"found {complaint}"):
            page.read_cases(place)
    made = cases(("b", "a"))
    for case in made:
        (tmp_path / case.name).mkdir()
        for name, picture in {"input": case.photo, **case.results}.items():
            images.write_image(tmp_path / case.name / f"{name}.png", picture)
    read = page.read_cases(tmp_path)
    assert [case.name for case in read] == ["a", "b"]
    assert set(read[0].results) == {"scatter", "drbokeh", "mpib"}
    np.testing.assert_allclose(read[1].photo, made[0].photo, atol=1 / 255)
    (tmp_path / "a" / "input.png").unlink()
    with pytest.raises(InputError, match="found no input in"):
        page.read_cases(tmp_path)
