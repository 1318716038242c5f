"""Laws of the band about strands and of what is measured in it."""

import math

import pytest
import torch

from bokehlib import data, methods, study
from bokehlib.data import published_sets
from bokehlib.data.datasets import Sample
from bokehlib.data.perturb import BAND, strand_band
from bokehlib.data.published_sets import path_traced
from bokehlib.evaluation.strands import bands
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens
from bokehlib.study import results, runner, tables

LABEL = study.METHODS["bokehdiff-mini"].label


def wire(width, near=0.8):
    """An upright bar of that width before a slanted floor."""
    disparity = torch.linspace(0.2, 0.3, 48)[None, None, :, None].repeat(1, 1, 1, 64)
    disparity[..., 30 : 30 + width] = near
    return disparity


def sample(disparity):
    image = torch.rand((1, 3, *disparity.shape[-2:]), generator=torch.Generator().manual_seed(0))
    return Sample("scene", 2, image, disparity, Lens(0.25, 10.0), image.flip(-1))


def test_the_band_is_what_lies_within_its_reach_of_a_strand():
    band = strand_band(wire(2))[0, 0, 20]
    assert band.nonzero().flatten().tolist() == [*range(30 - BAND, 32 + BAND)]


def test_wide_things_and_floors_have_no_band():
    assert not strand_band(wire(14)).any()
    assert not strand_band(wire(0)).any()


def test_only_errors_inside_the_band_count():
    made = sample(wire(2))
    band = strand_band(made.disparity)

    def right_inside(image, disparity, lens):
        return torch.where(band, made.target, 1 - made.target)

    def off_inside(image, disparity, lens):
        return torch.where(band, (made.target - 0.5).abs(), made.target)

    assert bands(right_inside, [made], [0])[0]["psnr"] == 100
    (row,) = bands(off_inside, [made], [0])
    wanted = ((made.target - 0.5).abs() - made.target).square().mean(1, keepdim=True)[band].mean()
    assert row["psnr"] == pytest.approx(-10 * math.log10(wanted), abs=1e-4)
    assert row["pixels"] == band.sum()


def test_a_renderer_gets_the_wrong_disparity_and_the_band_stays_that_of_the_true_one():
    made, seen = sample(wire(2)), []

    def note(image, disparity, lens):
        seen.append(disparity)
        return image

    rows = bands(note, [made, sample(wire(14))], [0, "strands", 4])
    assert torch.equal(seen[0], made.disparity)
    assert not (seen[1] > 0.5).any()
    assert (seen[2] > 0.5).sum() > 3 * (seen[0] > 0.5).sum()
    assert [row["perturbation"] for row in rows] == ["0", "strands", "4"]
    assert len({row["pixels"] for row in rows}) == 1


def test_the_table_has_a_row_a_method_and_says_what_was_not_run(tmp_path):
    made = [
        {"perturbation": error, "image": name, "blur": 2, "psnr": 30.0 + n, "pixels": 500}
        for error in ("0", "-4")
        for n, name in enumerate(("hair", "fence"))
    ]
    results.write_probe(made, {}, "strands", "scatter", tmp_path)
    table = tables.strands(results.read_probe("strands", tmp_path)).set_index("method")
    row = table.loc[study.METHODS["scatter"].label]
    assert row["exact"] == row["eroded_4"] == 30.5
    assert row["images"] == 2
    assert math.isnan(row["dilated_4"])
    assert "not run" in tables.markdown(table.reset_index(), "strands")


def test_without_measurements_the_table_has_rows_that_say_so(tmp_path):
    table = tables.strands(results.read_probe("strands", tmp_path))
    assert len(table) == len(study.EMBEDDED)
    assert table[[*study.STRAND_ERRORS.values()]].isna().all(axis=None)
    assert not table["images"].any()


def test_a_set_that_was_not_rendered_is_one_line_that_says_how_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "RENDERED", tmp_path)
    assert data.data_hash("rendered") == ""
    with pytest.raises(InputError, match="pathtracing pack ORIGINALS --out bokehlib/data/rendered"):
        path_traced.contents(tmp_path)
    assert published_sets.check(tmp_path)[0][-1] == data.absence("rendered")
    monkeypatch.setattr(methods, "lacks", lambda name: "" if name in study.EMBEDDED else "weights")
    steps, skipped = runner.plan(["strands"], smoke=True, fresh=False, root=tmp_path)
    assert skipped == [data.absence("rendered")]
    assert [step.notebook for step in steps] == ["53_strands"]
