"""Published layouts are read as their authors wrote them, and faults cost only what they touch."""

import json
import sys

import miniatures
import numpy as np
import pytest
from PIL import Image

from bokehlib import cli, data
from bokehlib.data import published
from bokehlib.data.datasets import load_dataset
from bokehlib.data.published_sets import ebb
from bokehlib.data.published_sets.exposure import align_exposure
from bokehlib.io import exr
from bokehlib.io.errors import InputError
from bokehlib.io.images import read_image


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder of data sets, still empty."""
    monkeypatch.setenv("BOKEHLIB_DATA", str(tmp_path))
    monkeypatch.setattr(published, "BUILT", tmp_path / "nothing")
    return tmp_path


@pytest.fixture
def blb(here):
    return miniatures.write_blb(here / "blb_level5")


@pytest.fixture
def ebb_root(here):
    return miniatures.write_ebb(here / "ebb_val294")


def array(tensor):
    return tensor[0].permute(1, 2, 0).numpy()


# --- EXR ------------------------------------------------------------------------------------


def test_half_and_float_pictures_come_back_as_they_were_written(tmp_path):
    light, depth = miniatures.light(0), miniatures.depths()
    miniatures.write_exr(tmp_path / "a.exr", {"RGB": light})
    assert np.array_equal(exr.read_colour(tmp_path / "a.exr"), light.astype(np.float32))
    for name in ("Z", "V", "Y", "View Layer.Depth.Z"):
        miniatures.write_exr(tmp_path / "d.exr", {name: depth})
        assert np.array_equal(exr.read_depth(tmp_path / "d.exr"), depth)
    grey = np.repeat(depth[..., None], 3, -1)
    miniatures.write_exr(tmp_path / "d.exr", {"RGB": grey})
    assert np.array_equal(exr.read_depth(tmp_path / "d.exr"), depth)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_truncated_exr_is_named_in_one_line_and_the_library_stays_silent(tmp_path, share, capfd):
    path = tmp_path / "a.exr"
    miniatures.write_exr(path, {"RGB": miniatures.light(0)})
    miniatures.truncate(path, share)
    with pytest.raises(InputError, match=r"a.exr: found a broken or truncated file"):
        exr.read_colour(path)
    assert capfd.readouterr() == ("", "")


def test_without_the_package_that_reads_exr_its_absence_is_the_fault(blb, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(
        InputError, match=r"found no package openexr.*; accepted: .*bokehlib\[study"
    ):
        load_dataset("blb_level5")


def test_an_exr_with_spoilt_bytes_is_refused_and_not_read_as_black(tmp_path):
    path = tmp_path / "a.exr"
    miniatures.write_exr(path, {"RGB": miniatures.light(0)})
    content = bytearray(path.read_bytes())
    content[-400:-200] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a.exr: found a broken or truncated file"):
        exr.read_colour(path)


def test_an_exr_with_other_channels_or_impossible_values_is_refused(tmp_path):
    path = tmp_path / "a.exr"
    miniatures.write_exr(path, {"Z": miniatures.depths()})
    with pytest.raises(InputError, match=r"a.exr: found channels Z; accepted: .* R, G and B"):
        exr.read_colour(path)
    with pytest.raises(InputError, match="found no such file"):
        exr.read_colour(tmp_path / "b.exr")
    light = miniatures.light(0)
    light[3, 4, 1] = np.nan
    miniatures.write_exr(path, {"RGB": light})
    with pytest.raises(InputError, match="found 1 NaN or infinite"):
        exr.read_colour(path)
    depth = miniatures.depths()
    depth[0, :2] = 0, -1
    miniatures.write_exr(path, {"Z": depth})
    with pytest.raises(InputError, match="found 2 depths that are NaN, zero or negative"):
        exr.read_depth(path)


# --- BLB ------------------------------------------------------------------------------------


def test_every_scene_of_blb_is_seen_at_each_focus_distance_on_level_5(blb):
    samples = load_dataset("blb_level5")
    assert [(s.name, s.blur) for s in samples] == [(n, b) for n in ("277", "280") for b in range(3)]
    assert (samples.left_out, samples.faults) == (0, [])
    truth = miniatures.light(100 + 40 + 2).astype(np.float32)
    expected = np.clip(truth, 0, 1) ** (1 / miniatures.GAMMA)
    assert array(samples[5].target) == pytest.approx(expected, abs=1e-6)
    assert array(samples[5].image).max() == 1  # what is brighter than white is clipped


def test_blurs_of_blb_are_those_of_its_own_units_whatever_the_scale_of_disparity(blb):
    depth = miniatures.depths()
    inverse = np.where(depth < 65504, 1 / depth, 0)
    for sample in load_dataset("blb_level5")[:3]:
        disparity = sample.disparity[0, 0].numpy()
        assert (disparity.min(), disparity.max()) == (0, 1)
        radius = sample.lens.aperture * (disparity - sample.lens.focus)
        focus = 1 / miniatures.FOCUSES[sample.blur]
        assert radius == pytest.approx(miniatures.BLURS[4] * (inverse - focus), abs=1e-4)


def change(folder, **keys):
    info = json.loads((folder / "info.json").read_text())
    for key, value in keys.items():
        if value is None:
            del info[key]
        else:
            info[key] = value
    (folder / "info.json").write_text(json.dumps(info))


FAULTS = {  # what is done to scene 277 -> the fault's text, how many pictures it costs
    "truncated truth": (
        lambda f: miniatures.truncate(f / "bokeh_04_01.exr"),
        r"277/bokeh_04_01.exr: found a broken or truncated file",
        1,
    ),
    "truncated image": (
        lambda f: miniatures.truncate(f / "image.exr"),
        r"277/image.exr: found a broken or truncated file",
        3,
    ),
    "no depth": (lambda f: (f / "depth.exr").unlink(), r"277/depth.exr: found no such file", 3),
    "key": (
        lambda f: change(f, blur_parameters=None),
        r'277/info.json: key "blur_parameters": found nothing; accepted: a list of numbers',
        3,
    ),
    "value": (
        lambda f: change(f, focus_distances=[1, -2, 3]),
        r'277/info.json: key "focus_distances": found -2; accepted: a list of numbers above 0',
        3,
    ),
    "level": (
        lambda f: change(f, blur_parameters=[1, 2, 3, 4]),
        r'277/info.json: key "blur_parameters": found 4 levels; accepted: 5 or more',
        3,
    ),
    "no truth on the level": (
        lambda f: (f / "bokeh_04_02.exr").unlink(),
        r"277/bokeh_04_02.exr: found no such file",
        1,
    ),
    "size": (
        lambda f: miniatures.write_exr(f / "bokeh_04_00.exr", {"RGB": miniatures.light(0, (9, 7))}),
        r"277/bokeh_04_00.exr: found 7x9 pixels; accepted: the size of image.exr, 64x48",
        1,
    ),
    "size of the depth": (
        lambda f: miniatures.write_exr(f / "depth.exr", {"Z": miniatures.depths((24, 32))}),
        r"277/depth.exr: found 32x24 pixels; accepted: the size of image.exr, 64x48",
        3,
    ),
    "no JSON": (
        lambda f: (f / "info.json").write_text("{"),
        r"277/info.json: found no JSON",
        3,
    ),
    "no info": (lambda f: (f / "info.json").unlink(), r"277/info.json: found no such file", 3),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_file_and_key_and_the_rest_of_blb_is_measured(blb, fault):
    damage, text, cost = FAULTS[fault]
    damage(blb / "277")
    samples = load_dataset("blb_level5")
    assert (len(samples), samples.left_out) == (6 - cost, cost)
    assert [sample.name for sample in samples].count("280") == 3
    (line,) = samples.faults
    assert "\n" not in line
    with pytest.raises(AssertionError, match=text):  # a readable difference if it does not match
        raise AssertionError(line)


def test_a_set_of_which_nothing_can_be_used_is_one_line(blb):
    for scene in ("277", "280"):
        (blb / scene / "info.json").unlink()
    with pytest.raises(InputError, match=r"blb_level5: nothing in it can be used: .*277/info.json"):
        load_dataset("blb_level5")


def test_smoke_is_two_small_pictures_with_their_lens_scaled_along(here):
    miniatures.write_blb(here / "BLB", size=(96, 192))
    samples = load_dataset("blb_level5", smoke=True)
    assert [(s.name, s.blur) for s in samples] == [("277", 0), ("277", 1)]
    assert samples[0].image.shape == (1, 3, 48, 96)
    assert samples[0].lens.aperture == pytest.approx(miniatures.BLURS[4] / miniatures.NEAR / 2)


# --- EBB ------------------------------------------------------------------------------------


def test_the_last_294_pairs_are_taken_by_their_numbers(tmp_path):
    for folder in ebb.PAIRS[0]:
        (tmp_path / folder).mkdir(parents=True)
        for number in [*range(4394, 4694), 9, 10, 100]:
            (tmp_path / folder / f"{number}.jpg").touch()
    shots = ebb.contents(tmp_path).shots
    assert [shot.name for shot in shots] == [str(n) for n in range(4400, 4694)]


@pytest.mark.parametrize("folders", ebb.PAIRS, ids="-".join)
def test_pairs_are_found_in_every_layout_that_is_about(here, folders):
    miniatures.write_ebb(here / "EBB_Val294", folders=folders)
    samples = load_dataset("ebb_val294-original")
    assert [s.name for s in samples] == ["4690", "4691", "4692", "4693"]
    image = read_image(here / "EBB_Val294" / folders[0] / "4691.jpg")
    assert np.array_equal(array(samples[1].image), image)


def test_the_focus_is_found_where_both_pictures_have_edges(ebb_root):
    for sample in load_dataset("ebb_val294"):
        assert sample.lens.focus == pytest.approx(0.8, abs=1e-3)
        assert np.isnan(sample.lens.aperture)
    image, truth = miniatures.pair(0)
    disparity = np.where(miniatures.subject(), 0.8, 0.2)
    assert ebb.focus_from_edges(disparity, image, truth) == pytest.approx(0.8)
    assert ebb.focus_from_edges(disparity, 0 * image, truth) == pytest.approx(0.8)  # the middle
    turned = np.where(miniatures.subject(), 0.2, 0.8)
    assert ebb.focus_from_edges(turned, image, truth) == pytest.approx(0.2)


def test_edges_in_the_middle_count_before_others_and_what_lies_before_them_does_not():
    image = np.zeros((100, 100, 3))
    image[48:52, 40:60] = 1  # a bar in the middle, a square in the corner
    image[:20, :20] = 1
    disparity = np.full((100, 100), 0.3)
    disparity[:30, :30] = 0.9
    assert ebb.focus_from_edges(disparity, image, image) == pytest.approx(0.3)
    disparity[:, 49:] = 0.6  # more than half of the bar
    assert ebb.focus_from_edges(disparity, image, image) == pytest.approx(0.3)


def test_edges_of_one_picture_alone_do_not_count_even_in_the_middle():
    image = np.zeros((100, 100, 3))
    image[48:52, 40:60] = 1
    image[:20, :20] = 1
    blurred = image.copy()
    blurred[48:52, 40:60] = 0
    disparity = np.full((100, 100), 0.3)
    disparity[:30, :30] = 0.9
    for pair in ((image, blurred), (blurred, image)):
        assert ebb.focus_from_edges(disparity, *pair) == pytest.approx(0.9)


def test_a_mask_says_what_is_in_focus_and_an_empty_one_means_the_middle(ebb_root):
    (ebb_root / "mask").mkdir()
    behind = ~miniatures.subject()
    behind[:4] = behind[-4:] = False
    miniatures.write_mask(ebb_root / "mask" / "4690.png", behind)
    miniatures.write_mask(ebb_root / "mask" / "4691.png", 0 * behind)
    focuses = [sample.lens.focus for sample in load_dataset("ebb_val294")]
    assert focuses == pytest.approx([0.2, 0.8, 0.8, 0.8], abs=1e-3)


def test_a_networks_map_is_stretched_without_its_single_outliers(tmp_path):
    path = tmp_path / "map.npy"
    values = np.linspace(-4, 8, 200).reshape(10, 20)
    spiky = values.copy()
    spiky[5, 5] = 1e6
    np.save(path, values)
    plain = ebb.read_map(path)
    np.save(path, spiky)
    stretched = ebb.read_map(path)
    assert (plain.min(), plain.max(), stretched[5, 5]) == (0, 1, 1)
    assert np.delete(stretched, 105) == pytest.approx(np.delete(plain, 105))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda r: (r / "Training/bokeh/4691.jpg").unlink(), r"bokeh/4691.jpg: found no such"),
        (lambda r: (r / "Training/original/4691.jpg").unlink(), r"original/4691.jpg: found no suc"),
        (lambda r: miniatures.truncate(r / "Training/bokeh/4691.jpg"), r"4691.jpg: found a broken"),
        (lambda r: (r / "depth/4691_pred.npy").unlink(), r"4691_pred.npy: found no such file"),
        (lambda r: miniatures.truncate(r / "depth/4691_pred.npy"), r"4691_pred.npy: found a brok"),
        (
            lambda r: np.save(r / "depth/4691_pred.npy", np.full((48, 64), np.nan)),
            r"4691_pred.npy: found 3072 NaN",
        ),
        (
            lambda r: np.save(r / "depth/4691_pred.npy", np.zeros((48, 64))),
            r"4691_pred.npy: found one value everywhere",
        ),
        (
            lambda r: np.save(r / "depth/4691_pred.npy", np.random.rand(48, 24)),  # noqa: NPY002
            r"disparity .*4691_pred.npy: found 24x48 pixels",
        ),
        (
            lambda r: Image.new("RGB", (60, 48)).save(r / "Training/bokeh/4691.jpg"),
            r"bokeh/4691.jpg: found 60x48 pixels; accepted: the size of 4691.jpg, 64x48",
        ),
    ],
)
def test_a_fault_in_one_pair_of_ebb_costs_that_pair_alone(ebb_root, damage, text):
    damage(ebb_root)
    samples = load_dataset("ebb_val294")
    assert [s.name for s in samples] == ["4690", "4692", "4693"]
    assert samples.left_out == 1
    with pytest.raises(AssertionError, match=text):
        raise AssertionError(samples.faults[0])


# --- Exposure -------------------------------------------------------------------------------


def test_aligning_undoes_a_change_of_exposure_exactly():
    truth = np.random.default_rng(0).uniform(0, 1, (9, 8, 3))
    tinted = truth * np.array([0.7, 0.5, 0.9])
    assert align_exposure(tinted, truth, "channels") == pytest.approx(truth, abs=1e-12)
    assert align_exposure(0.6 * truth, truth, "global") == pytest.approx(truth, abs=1e-12)
    assert align_exposure(tinted, truth, "none") is tinted
    assert np.array_equal(align_exposure(truth, truth, "channels"), truth)


def test_the_plain_alignment_keeps_the_colours_of_the_input():
    rng = np.random.default_rng(0)
    image, truth = rng.uniform(0.1, 0.5, (9, 8, 3)), rng.uniform(0, 1, (9, 8, 3)) * [1, 0.9, 0.4]
    aligned = align_exposure(image, truth, "global")
    assert aligned / image == pytest.approx(np.full(image.shape, truth.mean() / image.mean()))
    each = align_exposure(image, truth, "channels")
    assert each.mean((0, 1)) == pytest.approx(truth.mean((0, 1)), rel=0.05)


def test_an_aligned_picture_stays_a_picture_and_black_stays_black():
    image = np.zeros((4, 4, 3), np.float32)
    image[0, 0, :2] = 0.9
    aligned = align_exposure(image, np.ones((4, 4, 3), np.float32), "channels")
    assert (aligned.min(), aligned.max(), aligned.dtype) == (0, 1, np.float32)
    assert not aligned[..., 2].any()
    with pytest.raises(KeyError, match="known: none, channels, global"):
        align_exposure(image, image, "mean")


def test_each_name_of_ebb_has_its_exposure(ebb_root):
    samples = {name: load_dataset(name)[0] for name in data.PUBLISHED if name.startswith("ebb")}
    truth = samples["ebb_val294"].target
    off = {n: (s.image - truth).mean((0, 2, 3)).abs() for n, s in samples.items()}
    assert off["ebb_val294"].max() < 1e-3
    assert off["ebb_val294-global"].max() > 0.02
    assert (samples["ebb_val294-global"].image - truth).mean().abs() < 1e-3
    assert off["ebb_val294-original"].min() > 0.05
    assert (off["ebb_val294-original-borrowed"] == off["ebb_val294-original"]).all()


# --- Absence, hashes, the command -----------------------------------------------------------


def test_a_set_that_is_not_here_is_one_line_that_says_where_it_is_to_be_had(here):
    for name in data.PUBLISHED:
        with pytest.raises(InputError, match=r"not here; accepted: .*source: ") as error:
            load_dataset(name)
        assert "\n" not in str(error.value)
        assert data.data_hash(name) == ""


def test_the_hash_of_a_published_set_changes_with_its_files_and_info(blb):
    hashes = [data.data_hash("blb_level5")]
    change(blb / "277", blur_parameters=[1, 2, 3, 4, 6])
    hashes.append(data.data_hash("blb_level5"))
    (blb / "280" / "depth.exr").unlink()
    hashes.append(data.data_hash("blb_level5"))
    assert len(set(hashes)) == 3
    assert all(hashes)


def run(capsys, *argv):
    code = cli.main([*argv])
    return code, *capsys.readouterr()


def test_check_says_what_is_there_what_is_left_out_and_what_is_missing(
    blb, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(data, "RENDERED", tmp_path)
    miniatures.truncate(blb / "277" / "bokeh_04_01.exr")
    code, out, err = run(capsys, "data", "check", str(blb.parent))
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0].startswith("ebb_val294: not here; source: the last 294 pairs")
    assert f"put it into {blb.parent / 'ebb_val294'}" in lines[0]
    assert lines[1] == f"blb_level5: 5 of 100 pictures can be used, 1 left out, in {blb}"
    assert lines[2] == f"  found with BOKEHLIB_DATA={blb.parent}"
    assert lines[3].startswith("  94 pictures are missing; source: BLB")
    assert "277/bokeh_04_01.exr: found a broken or truncated" in lines[4]
    assert lines[5].startswith("synbokeh300: not here; source: never released")
    assert lines[6].startswith("rendered: not here; made by ")
    assert len(lines) == 7


def test_check_takes_the_folder_of_one_set_under_any_name(tmp_path, capsys):
    root = miniatures.write_ebb(tmp_path / "mine")
    code, out, _ = run(capsys, "data", "check", str(root))
    assert code == 0
    assert f"ebb_val294: 4 of 294 pictures can be used, 0 left out, in {root}" in out
    assert "to be found it has to be called ebb_val294 and lie in BOKEHLIB_DATA" in out


def test_check_asks_whether_disparities_are_the_wrong_way_round(ebb_root, capsys):
    assert "wrong way round" not in run(capsys, "data", "check", str(ebb_root))[1]
    for path in (ebb_root / "depth").iterdir():
        np.save(path, -np.load(path))
    code, out, _ = run(capsys, "data", "check", str(ebb_root))
    assert "in 4 of them the upper third is nearer than the lower: is the disparity the wr" in out
    assert code == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["check", "/no/such/place"], "PATH: found no such folder /no/such/place; accepted: a f"),
        (["check"], "accepted: check PATH"),
        (["check", "a", "b"], "found unknown b; accepted: check PATH"),
    ],
)
def test_bad_input_of_check_is_one_line_and_exit_code_2(capsys, argv, message):
    code, out, err = run(capsys, "data", *argv)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
