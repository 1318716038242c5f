"""PSNR by the origin of the light: measured class by class, and the table of it."""

import math

import numpy as np
import pytest
import torch

from bokehlib import data, study
from bokehlib.data.datasets import Sample
from bokehlib.evaluation import origin_classes, origins
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens
from bokehlib.study import results, tables

SCENE = data.manifest()["scenes"][0]["name"]
LABELS = {name: method.label for name, method in study.METHODS.items()}
MINI = "bokehdiff-mini"


@pytest.fixture
def quarters(tmp_path, monkeypatch):
    """Classes of a scene whose four quarters are the four classes, moved on by a lens each."""
    y, x = np.mgrid[:40, :60]
    first = 2 * (y >= 20) + (x >= 30)
    classes = np.stack([(first + lens) % 4 for lens in range(4)]).astype(np.uint8)
    origin_classes.write(classes, tmp_path / f"{SCENE}.webp")
    monkeypatch.setattr(data, "ORIGINS", tmp_path)
    return classes


def sample(blur=0, size=(40, 60)):
    image = 0.1 + 0.7 * torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    return Sample(SCENE, blur, image, image[:, :1], Lens(0.5, 8.0), image)


def found(render, *samples):
    return {
        (row["blur"], row["origin"]): (row["psnr"], row["pixels"])
        for row in origins.by_origin(render, samples)
    }


@pytest.mark.parametrize("blur", [0, 3])
def test_an_error_counts_in_the_class_of_its_pixels_alone(quarters, blur):
    def render(image, disparity, lens):
        return image + 0.01 * torch.from_numpy(quarters[blur] == origin_classes.EDGE)

    rows = found(render, sample(blur))
    psnr, pixels = rows.pop((blur, "visible edge"))
    assert (psnr, pixels) == (pytest.approx(40, abs=1e-3), 600)
    assert set(rows) == {(blur, name) for name in study.ORIGINS if name != "visible edge"}
    assert set(rows.values()) == {(100.0, 600)}


def test_the_classes_are_the_whole_picture_and_a_smaller_picture_has_those_it_lies_on(quarters):
    def render(image, disparity, lens):
        wrong = image.clone()
        wrong[..., :10, :15] += 0.1  # the first quarter of a picture of half the size
        return wrong

    rows = found(render, sample(size=(20, 30)))
    assert sum(pixels for _, pixels in rows.values()) == 600
    assert rows[0, "in focus"][0] == pytest.approx(20, abs=1e-3)
    assert {psnr for (_, name), (psnr, _) in rows.items() if name != "in focus"} == {100.0}


def test_a_class_of_fewer_than_100_pixels_gives_no_row(tmp_path, monkeypatch):
    classes = np.zeros((4, 40, 60), np.uint8)
    classes[:, :33, :3] = origin_classes.HIDDEN  # 99 pixels
    classes[1, 33, 0] = origin_classes.HIDDEN
    origin_classes.write(classes, tmp_path / f"{SCENE}.webp")
    monkeypatch.setattr(data, "ORIGINS", tmp_path)
    rows = found(lambda image, *_: image, sample(0), sample(1))
    assert sorted(rows) == [(0, "in focus"), (1, "hidden background"), (1, "in focus")]


def test_a_scene_without_classes_is_named():
    with pytest.raises(InputError, match=r"scene_99\.webp: found no such file; accepted: a scene"):
        origins.read("scene_99")


def test_a_broken_file_of_classes_is_named(tmp_path):
    (tmp_path / f"{SCENE}.webp").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=rf"{SCENE}\.webp: found UnidentifiedImageError"):
        origins.read(SCENE, tmp_path)


# --- The table -------------------------------------------------------------------------------


def rows(shift, scenes=6):
    """Every class of every scene, its PSNR 30 and `shift` of the class."""
    return [
        {"origin": name, "image": f"s{n}", "blur": blur, "psnr": 30 + n / 9 + more, "pixels": 200}
        for name, more in zip(study.ORIGINS, shift, strict=True)
        for n in range(scenes)
        for blur in range(2)
    ]


@pytest.fixture
def table(tmp_path):
    results.write_probe(rows((0, 0, 0, 0)), {}, "origins", "layered", tmp_path)
    results.write_probe(rows((-2, 0, 0.5, 1)), {}, "origins", MINI, tmp_path)
    return tables.origins(results.read_probe("origins", tmp_path))


def test_every_class_has_a_row_a_method_and_its_difference_to_what_the_default_corrects(table):
    assert table["origin"].drop_duplicates().tolist() == [*study.ORIGINS]
    own = table[table["method"] == LABELS[MINI]]
    assert own["psnr_difference"].tolist() == pytest.approx([-2, 0, 0.5, 1])
    assert own["psnr_verdict"].tolist() == ["worse", "no difference shown", "better", "better"]
    assert own["images"].tolist() == [12] * 4
    given = table[table["method"] == LABELS["layered"]]
    assert given["psnr"].tolist() == pytest.approx([30 + 2.5 / 9] * 4)
    assert given["psnr_difference"].isna().all()
    assert table[table["method"] == LABELS["input"]]["psnr"].isna().all()


def test_a_class_that_one_method_lacks_is_compared_where_both_have_it(tmp_path):
    results.write_probe(rows((0, 0, 0, 0)), {}, "origins", "layered", tmp_path)
    results.write_probe(rows((1, 1, 1, 1), scenes=2), {}, "origins", MINI, tmp_path)
    own = tables.origins(results.read_probe("origins", tmp_path)).query("method == @LABELS[@MINI]")
    assert own["psnr_difference"].tolist() == pytest.approx([1, 1, 1, 1])
    assert own["images"].tolist() == [4] * 4


def test_the_prior_is_credited_for_the_last_two_classes_alone(table):
    said = tables.credited(table)
    credit, rest = said.split("Not to it: ")
    assert "visible edge +0.50 dB (better); hidden background +1.00 dB (better)" in credit
    assert rest == "in focus -2.00 dB (worse); smooth blur +0.00 dB (no difference shown)."
    assert LABELS["layered"] in credit


def test_without_measurements_rows_say_so_and_nothing_is_credited():
    empty = tables.origins(tables.NO_ORIGINS)
    assert len(empty) == len(study.ORIGINS) * len(study.EMBEDDED)
    assert tables.credited(empty) == ""
    assert "not run" in tables.markdown(empty, "origins")
    assert math.isnan(empty["psnr"].max())


def test_the_best_of_each_class_is_bold_and_the_caption_says_what_is_measured(table):
    shown = tables.markdown(table, "origins", tables.credited(table))
    assert shown.count("**") == 2 * (len(study.ORIGINS) + 1)  # in smooth blur two are alike
    assert f"more than {study.ORIGIN_SHARE:.0%} comes" in shown
    assert f"fewer than {origins.FEWEST} pixels" in shown
    assert "To the prior of" in shown
