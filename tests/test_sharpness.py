"""What is in focus stays as it is: measured region by region."""

import math

import made_up
import pytest
import torch

from bokehlib import study
from bokehlib.data.datasets import Sample
from bokehlib.evaluation import sharpness
from bokehlib.evaluation.focus import in_focus_mask, under_near_blur_mask
from bokehlib.optics import Lens, circle_of_confusion
from bokehlib.study import results, tables
from bokehlib.study.provenance import provenance

REGIONS = [*study.FOCUS_REGIONS]
LENS = Lens(0.25, 10.0)


def noise(height=40, width=60, seed=0):
    # Away from 0 and 1, so that nothing is clamped.
    generator = torch.Generator().manual_seed(seed)
    return 0.1 + 0.7 * torch.rand(1, 3, height, width, generator=generator)


def scene(**changes):
    """A wall in focus, a far part (radius 2.5 px) on the left, a near bar (5 px) on the right."""
    disparity = torch.full((1, 1, 40, 60), 0.25)
    disparity[..., :12] = 0.0
    disparity[..., 50:] = 0.75
    truth = noise()
    made = {"name": "s", "blur": 2, "image": truth, "target": truth}
    return Sample(**made | {"disparity": disparity, "lens": LENS} | changes)


def unchanged(image, disparity, lens):
    return image


def brighter(image, disparity, lens):
    return image + 0.01


def everywhere(render):
    photos = {"one": noise(20, 30), "two": noise(30, 20)}
    return sharpness.constant(render, photos) + sharpness.scenes(render, [scene()])


def psnr(rows):
    return {row["region"]: row["psnr"] for row in rows}


# --- Measuring -------------------------------------------------------------------------------


def test_what_comes_back_unchanged_has_100_db_in_every_region():
    assert psnr(everywhere(unchanged)) == dict.fromkeys(REGIONS, 100.0)


def test_an_error_of_a_hundredth_everywhere_is_40_db_in_every_region():
    assert psnr(everywhere(brighter)) == pytest.approx(dict.fromkeys(REGIONS, 40.0), abs=1e-4)


def test_an_error_smaller_than_the_cap_shows_is_at_the_cap():
    assert set(psnr(everywhere(lambda image, *_: image + 1e-6)).values()) == {100.0}


def test_the_mean_is_taken_over_the_error_of_pixels_and_channels_and_not_over_decibels():
    def render(image, disparity, lens):
        wrong = image.clone()
        wrong[:, 0, :, ::2] += 0.03
        return wrong

    (row,) = sharpness.constant(render, {"one": noise(20, 30)})
    assert row["psnr"] == pytest.approx(-10 * math.log10(0.03**2 / 6), abs=1e-3)


def test_pictures_are_compared_as_they_are_shown():
    white = torch.ones(1, 3, 20, 30)
    (row,) = sharpness.constant(lambda image, *_: image + 0.5, {"white": white})
    assert row["psnr"] == 100


def test_an_error_outside_the_mask_leaves_in_focus_untouched():
    def render(image, disparity, lens):
        return image + 0.1 * ~in_focus_mask(disparity, lens)

    found = psnr(sharpness.scenes(render, [scene()]))
    assert found["in focus"] == found["in focus, 2 px inside"] == 100
    assert found["under near blur"] == pytest.approx(20, abs=1e-4)
    assert found["blurred"] == pytest.approx(20, abs=1e-4)


def test_an_error_under_near_blur_shows_there_alone():
    def render(image, disparity, lens):
        return image + 0.1 * under_near_blur_mask(disparity, lens)

    found = psnr(sharpness.scenes(render, [scene()]))
    assert found.pop("under near blur") == pytest.approx(20, abs=1e-4)
    assert set(found.values()) == {100.0}


def test_an_error_along_the_rim_spares_what_is_two_pixels_inside_and_the_border_is_no_rim():
    def render(image, disparity, lens):
        wrong = image.clone()
        wrong[..., 10:14] += 0.1  # two pixels at either side of the far part's edge
        return wrong

    found = psnr(sharpness.scenes(render, [scene()]))
    assert found["in focus"] < 40
    assert found["in focus, 2 px inside"] == 100
    rows = {row["region"]: row["pixels"] for row in sharpness.scenes(unchanged, [scene()])}
    assert rows["in focus"] == 33 * 40  # columns 12 to 44; the bar's discs reach 45 to 49
    assert rows["in focus, 2 px inside"] == 29 * 40
    assert rows["under near blur"] == 5 * 40


def test_the_three_regions_are_the_whole_picture():
    rows = {row["region"]: row["pixels"] for row in sharpness.scenes(unchanged, [scene()])}
    assert rows["in focus"] + rows["under near blur"] + rows["blurred"] == 40 * 60


def test_a_scene_is_compared_with_the_truth_and_not_with_its_input():
    target = noise()
    sample = scene(image=noise(seed=1), target=target)
    assert max(psnr(sharpness.scenes(unchanged, [sample])).values()) < 20
    assert set(psnr(sharpness.scenes(lambda *_: target, [sample])).values()) == {100.0}


def test_a_region_of_fewer_than_100_pixels_gives_no_row():
    disparity = torch.full((1, 1, 40, 60), 0.25)
    disparity[..., :33, :3] = 0.0  # 99 pixels
    rows = sharpness.scenes(unchanged, [scene(disparity=disparity)])
    assert [row["region"] for row in rows] == ["in focus", "in focus, 2 px inside"]
    disparity[..., 33, 0] = 0.0
    rows = sharpness.scenes(unchanged, [scene(disparity=disparity)])
    assert [(row["region"], row["pixels"]) for row in rows][-1] == ("blurred", 100)


def test_photographs_are_in_focus_under_an_aperture_that_blurs_elsewhere():
    seen = []

    def render(image, disparity, lens):
        seen.append((disparity, lens))
        return image

    sharpness.constant(render, {"one": noise()})
    ((disparity, lens),) = seen
    assert lens.aperture == study.FOCUS_APERTURE
    assert not circle_of_confusion(disparity, lens).any()
    assert circle_of_confusion(disparity + 0.1, lens).min() > 5


def test_the_photographs_are_the_benchmarks_cut_to_its_size():
    photos = sharpness.photographs()
    assert len(photos) >= 8
    assert {tuple(photo.shape) for photo in photos.values()} == {(1, 3, 256, 384)}
    (small,) = sharpness.photographs(smoke=True).values()
    assert small.shape == (1, 3, 64, 96)


@pytest.mark.parametrize("wrong", [lambda image, *_: image[..., 1:], lambda i, *_: i * math.nan])
def test_a_render_of_another_size_or_that_is_not_finite_is_refused(wrong):
    with pytest.raises(ValueError, match="render: found"):
        everywhere(wrong)


# --- Files -----------------------------------------------------------------------------------


def test_the_rows_come_back_by_method_and_are_no_scores(tmp_path):
    rows = everywhere(brighter)
    assert list(rows[0]) == [*study.PROBES["focus"].columns]
    assert results.read_probe("focus", tmp_path).empty
    made_up.write(tmp_path, made_up.rows())
    results.write_probe(rows, made_up.STAMP, "focus", "scatter", tmp_path)
    read = results.read_probe("focus", tmp_path)
    assert read["region"].tolist() == [REGIONS[0], *REGIONS]
    assert set(read["method"]) == {"scatter"}
    assert set(results.read_scores(root=tmp_path)["dataset"]) == {"synbokeh-mini"}


def test_a_file_stands_with_its_weights_its_data_and_its_parameters(tmp_path):
    asked = results.probe_parameters("focus", "scatter", smoke=False)
    stamp = provenance(asked, 0, "w", "d", "cpu")
    results.write_probe(everywhere(unchanged), stamp, "focus", "scatter", tmp_path)

    def stands(weights="w", data="d", parameters=asked):
        what = ("focus", "scatter", "exact", weights, data, parameters)
        return results.is_up_to_date(*what, tmp_path)

    assert stands()
    assert not stands(weights="x")
    assert not stands(data="x")
    assert not stands(parameters=results.probe_parameters("focus", "scatter", smoke=True))
    assert not stands(parameters=asked | {"aperture": 30.0})


# --- The table -------------------------------------------------------------------------------


def rows_of(region, *values):
    return [
        {"region": region, "image": f"s{number}", "psnr": value, "pixels": 200}
        for number, value in enumerate(values)
    ]


@pytest.fixture
def focus(tmp_path):
    """Two methods of the study, measured; a region was too small in one scene of two."""
    for shift, method in enumerate(("scatter", "input")):
        made = rows_of("constant", 50.0 + shift, 54.0 + shift, 58.0 + shift)
        made += rows_of("in focus", 40.0 + shift, 43.0 + shift)
        made += rows_of("under near blur", 30.0 + shift)
        results.write_probe(made, {}, "focus", method, tmp_path)
    return results.read_probe("focus", tmp_path)


def test_the_table_holds_means_over_images_in_the_order_of_the_study(focus):
    table = tables.in_focus(focus)
    assert table["method"].tolist() == [study.METHODS[name].label for name in study.EMBEDDED]
    assert table["constant"].tolist()[:2] == [55, 54]
    assert table["in_focus"].tolist()[:2] == [42.5, 41.5]
    assert table["under_near_blur"].tolist()[:2] == [31, 30]
    assert table["blurred"].isna().all()
    assert table.drop(columns="method")[2:].isna().all(axis=None)


def test_the_caption_says_how_many_images_and_names_the_marks(focus):
    shown = tables.markdown(tables.in_focus(focus), "in_focus", tables.pictures_in(focus))
    assert "Images: constant: 3; in focus: 2; under near blur: 1." in shown
    assert "42 dB for constant and for in focus" in shown
    assert "at most 100 dB" in shown
    line = next(line for line in shown.splitlines() if "| Scatter " in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["Scatter", "54.00", "41.50", "not run", "30.00", "not run"]


def test_what_the_caption_says_is_what_is_measured():
    caption = tables.CAPTIONS["in_focus"]
    assert f"at most {sharpness.HIGHEST:g} dB" in caption
    assert f"fewer than {sharpness.FEWEST} pixels" in caption
    assert f"the {sharpness.RIM} px along its rim" in caption


def test_a_new_method_gets_a_row_once_it_is_measured(focus, monkeypatch):
    monkeypatch.setitem(study.METHODS, "new", study.Method("New", "a rival"))
    assert "New" not in tables.in_focus(focus)["method"].tolist()
    found = tables.in_focus(focus.replace({"method": {"input": "new"}})).set_index("method")
    assert found.loc["New", "constant"] == 55
