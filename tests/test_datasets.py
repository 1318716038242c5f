import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from bokehlib import data
from bokehlib.data import data_hash, fingerprints, manifest, photo_paths, synbokeh
from bokehlib.data.datasets import (
    FolderSet,
    _frozen_check,
    load_dataset,
    read_lenses,
    training_photos,
)
from bokehlib.io.errors import InputError
from bokehlib.io.images import write_disparity, write_image
from bokehlib.synthesis import EVAL_FAMILIES, TRAIN_FAMILIES

HEIGHT, WIDTH = 20, 30
LENS = {"target": "bokeh_0.png", "focus_disparity": 0.25, "aperture": 12.5}


@pytest.fixture(scope="module")
def frozen():
    return manifest()


@pytest.fixture(scope="module")
def maker():
    return synbokeh.synthesiser()


@pytest.fixture(scope="module")
def built(frozen, tmp_path_factory):
    """The manifest's second scene, built here."""
    root = tmp_path_factory.mktemp("built")
    synbokeh.build(frozen, root, [frozen["scenes"][1]["name"]])
    return root


def make_scene(folder, lenses=(LENS,), size=(HEIGHT, WIDTH)):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("image.png", "bokeh_0.png", "bokeh_1.png"):
        write_image(folder / name, rng.uniform(size=(*size, 3)))
    write_disparity(folder / "disparity.png", rng.uniform(size=size))
    (folder / "lens.json").write_text(json.dumps({"lens": list(lenses)}))
    return folder


# --- synbokeh-mini --------------------------------------------------------------------------


def test_manifest_is_small_and_complete(frozen):
    assert data.MANIFEST.stat().st_size < 150_000
    assert len(frozen["scenes"]) == synbokeh.SCENES
    for scene in frozen["scenes"]:
        targets = {lens["target"] for lens in scene["lens"]}
        assert len(targets) == len(synbokeh.RADII)
        assert set(scene["images"]) == {"image.png", "disparity.png"} | targets
    assert sum(frozen["blur_histogram"]) == 24 * 4 * 256 * 384
    lit = sum(bool(scene["scene"]["lamps"]) for scene in frozen["scenes"])
    assert frozen["clipped_lamps"] == pytest.approx(lit / 24, abs=1e-3)


def test_frozen_scenes_are_what_their_numbers_draw(frozen, maker):
    for entry in frozen["scenes"]:
        scene = maker.draw(frozen["seed"], entry["n"])
        assert scene == synbokeh.scene_from(entry["scene"])
        assert json.loads(json.dumps(synbokeh.asdict(scene))) == entry["scene"]


def test_frozen_lenses_have_the_blur_levels_and_both_kinds_of_focus(frozen, maker):
    fronts = 0
    for entry in frozen["scenes"][:6]:
        layers = maker.layers([synbokeh.scene_from(entry["scene"])])
        for radius, lens in zip(synbokeh.RADII, entry["lens"], strict=True):
            focus = torch.tensor([lens["focus_disparity"]])
            largest = lens["aperture"] * layers.largest_blur(focus).item()
            assert largest == pytest.approx(radius, rel=1e-3)
            fronts += lens["focus_disparity"] > layers.disparities()[:, 0].max()
    assert fronts == 12


def test_building_a_scene_gives_the_frozen_pictures(frozen, built):
    entry = frozen["scenes"][1]
    shots = read_lenses(built / entry["name"])
    samples = FolderSet(shots, check=_frozen_check(frozen))
    assert [sample.blur for sample in samples] == [0, 1, 2, 3]
    worst = [((s.image - s.target) ** 2).mean().item() for s in samples]
    assert min(worst) > 1e-4
    for sample, lens in zip(samples, entry["lens"], strict=True):
        assert sample.lens.focus == lens["focus_disparity"]
        assert sample.image.shape == sample.target.shape == (1, 3, *synbokeh.SIZE)


def test_a_build_that_stands_is_not_made_again(frozen, built, monkeypatch):
    monkeypatch.setattr(synbokeh, "synthesiser", lambda: pytest.fail("built again"))
    synbokeh.build(frozen, built, [frozen["scenes"][1]["name"]])
    with pytest.raises(pytest.fail.Exception, match="built again"):
        synbokeh.build(frozen, built, [frozen["scenes"][2]["name"]])


def test_a_picture_that_is_not_the_frozen_one_is_refused(frozen):
    image = frozen["scenes"][0]["images"]["image.png"]
    cell = np.array(image["thumb"], np.uint8).reshape(8, 8)
    pixels = np.repeat(np.kron(cell, np.ones((32, 48), np.uint8))[..., None], 3, 2)
    assert fingerprints.matches(pixels, image)
    pixels[:32, :48] += 3
    assert not fingerprints.matches(pixels, image)


def test_another_version_of_a_photograph_is_refused(frozen):
    other = {**frozen, "photos": [{**frozen["photos"][0], "sha256": "0" * 64}]}
    with pytest.raises(InputError, match=r"photograph skimage/astronaut.png: found"):
        synbokeh._check_photos(other)


def test_embedded_photographs_have_a_licence_and_ship_with_their_packages(frozen):
    names = list(photo_paths())
    assert names == [photo["name"] for photo in frozen["photos"]]
    assert all(path.is_file() for path in photo_paths().values())
    own = {path.name for path in (data.HERE / "photos").iterdir()} - {"LICENSES.csv"}
    assert own == {name.removeprefix("photos/") for name in names if name.startswith("photos/")}


# --- What measures is never trained on ------------------------------------------------------


def test_matte_families_of_the_benchmark_are_never_trained_on(frozen):
    assert set(frozen["families"]) == set(EVAL_FAMILIES)
    assert not set(frozen["families"]) & set(TRAIN_FAMILIES)


def test_benchmark_photographs_are_refused_for_training_even_re_encoded(tmp_path):
    write_image(tmp_path / "mine.png", np.random.default_rng(0).uniform(size=(8, 9, 3)))
    assert [photo.shape for photo in training_photos([tmp_path])] == [(3, 8, 9)]
    coffee = photo_paths()["skimage/coffee.png"]
    Image.open(coffee).save(tmp_path / "renamed.webp", lossless=True)
    with pytest.raises(InputError, match=r"renamed.webp: found a photograph of synbokeh-mini"):
        training_photos([tmp_path])


def test_cutouts_are_no_training_photos(tmp_path):
    Image.new("RGBA", (5, 5), (1, 2, 3, 4)).save(tmp_path / "cutout.png")
    with pytest.raises(InputError, match="found none"):
        training_photos([tmp_path])


def test_photographs_set_aside_for_training_are_not_in_the_benchmark(shared):
    assert len(training_photos([shared / "photos" / "unsplash"])) == 15
    with pytest.raises(InputError, match="synbokeh-mini"):
        training_photos([shared / "photos" / "debian"])


# --- Folders --------------------------------------------------------------------------------


def test_a_folder_set_comes_back_as_it_was_written(tmp_path):
    second = {**LENS, "target": "bokeh_1.png", "aperture": 3}
    make_scene(tmp_path / "b")
    make_scene(tmp_path / "a", [LENS, second])
    samples = load_dataset(f"folder:{tmp_path}")
    assert [(s.name, s.blur) for s in samples] == [("a", 0), ("a", 1), ("b", 0)]
    image, disparity, target = samples[1].image, samples[1].disparity, samples[1].target
    assert image.shape == target.shape == (1, 3, HEIGHT, WIDTH)
    assert disparity.shape == (1, 1, HEIGHT, WIDTH)
    assert (samples[1].lens.focus, samples[1].lens.aperture) == (0.25, 3.0)
    rng = np.random.default_rng(0)
    written = [rng.uniform(size=(HEIGHT, WIDTH, 3)) for _ in range(3)]
    for tensor, array in ((image, written[0]), (target, written[2])):
        assert np.abs(tensor[0].permute(1, 2, 0).numpy() - array).max() <= 0.5 / 255 + 1e-6
    truth = rng.uniform(size=(HEIGHT, WIDTH))
    assert np.abs(disparity[0, 0].numpy() - truth).max() <= 0.5 / 65535 + 1e-6


def test_smoke_is_the_first_scene_small_with_its_lens_scaled_along(tmp_path):
    lenses = [{**LENS, "aperture": a} for a in (1, 2, 4, 8)]
    for name in ("a", "b"):
        make_scene(tmp_path / name, lenses, size=(128, 192))
    samples = load_dataset(f"folder:{tmp_path}", smoke=True)
    assert [(s.name, s.blur, s.lens.aperture) for s in samples] == [("a", 0, 0.5), ("a", 2, 2.0)]
    assert samples[0].image.shape == (1, 3, 64, 96)
    assert samples[0].disparity.shape == (1, 1, 64, 96)


def broken(**change):
    return {"lens": [{**LENS, **change}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"lens.json: found no such file; accepted: \{\"lens\""),
        ("{", r"lens.json: found no JSON"),
        ({"lens": [3]}, r'lens 0, key "target": found 3'),
        (broken(target="none.png"), r'lens 0, key "target": found "none.png"; accepted: the name'),
        ({"lens": [LENS, {"target": "bokeh_1.png"}]}, r'lens 1, key "focus_disparity": found noth'),
        (broken(focus_disparity=1.5), r'key "focus_disparity": found 1.5; accepted: a disparity'),
        (broken(aperture=-1), r'key "aperture": found -1; accepted: px'),
        (broken(aperture=float("nan")), r'key "aperture": found NaN'),
        (broken(aperture=True), r'key "aperture": found true'),
    ],
)
def test_a_broken_lens_file_is_named_with_its_key_in_one_line(tmp_path, content, message):
    file = make_scene(tmp_path / "scene") / "lens.json"
    if content is None:
        file.unlink()
    else:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=message) as error:
        load_dataset(f"folder:{tmp_path}")
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_pictures_that_do_not_fit_their_scene_are_named(tmp_path):
    scene = make_scene(tmp_path / "scene")
    write_image(scene / "bokeh_0.png", np.zeros((HEIGHT, WIDTH + 1, 3)))
    with pytest.raises(InputError, match=r"bokeh_0.png: found 31x20 pixels; accepted: .* 30x20"):
        load_dataset(f"folder:{tmp_path}")[0]
    write_disparity(scene / "disparity.png", np.zeros((HEIGHT, 2 * WIDTH)))
    with pytest.raises(InputError, match=r"disparity.png: found 60x20 pixels"):
        load_dataset(f"folder:{tmp_path}")[0]
    (scene / "image.png").unlink()
    with pytest.raises(InputError, match=r"image.png: found no such file"):
        load_dataset(f"folder:{tmp_path}")[0]


def test_disparity_of_another_size_is_brought_to_the_image(tmp_path):
    scene = make_scene(tmp_path / "scene")
    write_disparity(scene / "disparity.png", np.full((2 * HEIGHT, 2 * WIDTH), 0.5))
    disparity = load_dataset(f"folder:{tmp_path}")[0].disparity
    assert disparity.shape == (1, 1, HEIGHT, WIDTH)
    assert disparity.numpy() == pytest.approx(0.5, abs=1e-4)


# --- Hashes ---------------------------------------------------------------------------------


def test_data_hash_changes_with_the_data(tmp_path):
    name = f"folder:{tmp_path}"
    scene = make_scene(tmp_path / "scene")
    first = data_hash(name)
    assert first == data_hash(name)
    (scene / "lens.json").write_text(json.dumps(broken(aperture=12.6)))
    second = data_hash(name)
    write_image(scene / "more.png", np.zeros((3, 3, 3)))
    assert len({first, second, data_hash(name)}) == 3
    assert data_hash("synbokeh-mini") == data.file_hash(data.MANIFEST)
    assert data_hash("ebb_val294") == ""


def test_data_is_known_without_torch():
    code = (
        "import sys; from bokehlib.data import data_hash, photo_paths; photo_paths();"
        "data_hash('synbokeh-mini'); sys.exit('torch' in sys.modules or 'skimage' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
