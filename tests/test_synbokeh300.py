"""The rebuilt SYNBOKEH300: a function of its photographs, resumed, checked, never trained on."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from bokehlib import cli, data
from bokehlib.data import published, published_sets, synbokeh300
from bokehlib.data.datasets import load_dataset, training_photos
from bokehlib.data.synbokeh300 import SMOKE, Plan, build
from bokehlib.io.errors import InputError
from bokehlib.io.images import write_image
from bokehlib.optics import circle_of_confusion


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Folders of photographs, one of them with transparency, and of cut-outs with colours."""
    root = tmp_path_factory.mktemp("material")
    rng = np.random.default_rng(0)
    (root / "photos" / "more").mkdir(parents=True)
    for n in range(3):
        cells = rng.uniform(size=(12, 16, 3))
        write_image(root / "photos" / "more" / f"{n}.png", np.kron(cells, np.ones((12, 12, 1))))
    Image.new("RGBA", (50, 50), (1, 2, 3, 4)).save(root / "photos" / "cutout.png")
    (root / "foregrounds").mkdir()
    for n in range(2):
        rgba = np.zeros((60, 60, 4), np.uint8)
        rgba[10:50, 10:50] = (*rng.integers(0, 255, 3), 255)
        Image.fromarray(rgba).save(root / "foregrounds" / f"{n}.png")
    write_image(root / "foregrounds" / "opaque.png", np.zeros((9, 9, 3)))
    return root


@pytest.fixture(scope="module")
def built(material, tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "synbokeh300"
    build(root, material / "photos", material / "foregrounds", SMOKE)
    return root


@pytest.fixture
def here(built, tmp_path, monkeypatch):
    """A copy of the built set, where it is looked for."""
    monkeypatch.setenv("BOKEHLIB_DATA", str(tmp_path))
    monkeypatch.setattr(published, "BUILT", tmp_path / "nothing")
    return shutil.copytree(built, tmp_path / "synbokeh300")


def files(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def again(root, material, plan=SMOKE):
    return build(root, material / "photos", material / "foregrounds", plan)


def test_the_same_photographs_give_the_same_bytes(built, material, tmp_path):
    again(tmp_path / "set", material)
    assert files(tmp_path / "set") == files(built)


def test_the_manifest_names_what_went_in_and_what_came_out(built, material):
    manifest = json.loads((built / "manifest.json").read_text())
    photos = {photo["name"]: photo["sha256"] for photo in manifest["photos"]}
    assert list(photos) == ["more/0.png", "more/1.png", "more/2.png"]
    assert photos["more/1.png"] == data.file_hash(material / "photos" / "more" / "1.png")
    assert [f["name"] for f in manifest["foregrounds"]] == ["0.png", "1.png"]
    assert [scene["name"] for scene in manifest["scenes"]] == ["scene_000", "scene_001"]
    for scene in manifest["scenes"]:
        names = {"image.png", "disparity.png", *(f"bokeh_{n}.png" for n in range(4))}
        assert set(scene["images"]) == names
        assert all(len(image["sha256"]) == 64 for image in scene["images"].values())


def test_every_scene_has_four_blurs_of_their_levels(here):
    samples = load_dataset("synbokeh300")
    assert [(s.name, s.blur) for s in samples] == [
        (f"scene_{n:03d}", blur) for n in range(2) for blur in range(4)
    ]
    for sample in samples:
        assert sample.image.shape == (1, 3, *SMOKE.size)
        largest = circle_of_confusion(sample.disparity, sample.lens).max().item()
        assert 0.5 * SMOKE.radii[sample.blur] < largest < 1.2 * SMOKE.radii[sample.blur]
    errors = [(s.image - s.target).square().mean().item() for s in samples]
    for wide, narrow in ((2, 0), (3, 1), (6, 4), (7, 5)):  # in focus at the same layer
        assert errors[wide] > errors[narrow]


def test_the_whole_set_is_300_scenes_at_four_blurs():
    plan = Plan()
    assert (plan.scenes, len(plan.radii)) == (300, 4)
    assert plan.scenes * len(plan.radii) == published_sets.LAYOUTS["synbokeh300"].EXPECTED


def test_a_build_goes_on_where_it_was_and_makes_again_what_is_gone(built, material, here):
    manifest = json.loads((here / "manifest.json").read_text())
    short = Plan(1, SMOKE.size, SMOKE.radii)
    for entry in manifest["scenes"]:
        shutil.rmtree(here / entry["name"])
    (here / "manifest.json").unlink()
    again(here, material, short)
    stopped = (here / "scene_000" / "bokeh_0.png").stat().st_mtime_ns
    assert not (here / "scene_001").exists()
    again(here, material)
    assert files(here) == files(built)
    assert (here / "scene_000" / "bokeh_0.png").stat().st_mtime_ns == stopped
    shutil.rmtree(here / "scene_001")
    again(here, material)
    assert files(here) == files(built)


def test_a_set_of_other_photographs_or_settings_is_not_continued(here, material, tmp_path):
    other = shutil.copytree(material, tmp_path / "other")
    (other / "photos" / "more" / "0.png").unlink()
    with pytest.raises(InputError, match=r'manifest.json: key "photos": found another than now'):
        again(here, other)
    with pytest.raises(InputError, match=r'key "plan": found another'):
        again(here, material, Plan(2, (96, 96), SMOKE.radii))


def test_of_too_many_photographs_the_seed_chooses(material, tmp_path):
    few = Plan(1, SMOKE.size, SMOKE.radii, most=2, seed=1)
    names = []
    for n in range(2):
        manifest = again(tmp_path / str(n), material, few)
        names.append([photo["name"] for photo in manifest["photos"]])
    assert names[0] == names[1]
    assert len(names[0]) <= 2


@pytest.mark.parametrize(
    ("photos", "foregrounds", "message"),
    [
        ("nothing", "foregrounds", "--photos: found no such folder"),
        ("foregrounds", "photos/more", r"--foregrounds: found none in .*accepted: RGBA files"),
        ("empty", "foregrounds", r"--photos: found none in .*accepted: opaque photographs"),
        ("broken", "foregrounds", r"--photos: .*0.png: found a broken file"),
    ],
)
def test_what_cannot_be_built_from_is_named(material, tmp_path, photos, foregrounds, message):
    root = shutil.copytree(material, tmp_path / "material")
    (root / "empty").mkdir()
    (root / "broken").mkdir()
    content = (material / "photos" / "more" / "0.png").read_bytes()
    (root / "broken" / "0.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=message):
        build(tmp_path / "out", root / photos, root / foregrounds, SMOKE)
    assert not (tmp_path / "out").exists()


def test_foregrounds_that_cover_nothing_end_the_search(material, tmp_path, monkeypatch):
    monkeypatch.setattr(synbokeh300, "UNSUITABLE", 3)
    (tmp_path / "faint").mkdir()
    Image.new("RGBA", (40, 40), (9, 9, 9, 1)).save(tmp_path / "faint" / "0.png")
    with pytest.raises(InputError, match="--foregrounds: found none that covers"):
        build(tmp_path / "out", material / "photos", tmp_path / "faint", SMOKE)


def test_a_picture_that_is_not_the_manifests_is_left_out_and_named(here):
    write_image(here / "scene_000" / "bokeh_1.png", np.zeros((*SMOKE.size, 3)))
    samples = load_dataset("synbokeh300")
    assert (len(samples), samples.left_out) == (7, 1)
    assert "scene_000/bokeh_1.png: found another picture than the manifest's" in samples.faults[0]
    (here / "manifest.json").write_text('{"scenes": [{"name": "scene_000"}]}')
    with pytest.raises(InputError, match=r"manifest.json: found no 'lens'"):
        load_dataset("synbokeh300")


def test_its_photographs_are_refused_for_training_even_re_encoded(here, material, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    Image.open(material / "photos" / "more" / "2.png").save(mine / "renamed.webp", lossless=True)
    with pytest.raises(InputError, match=r"renamed.webp: found a photograph of synbokeh300"):
        training_photos([mine])
    shutil.rmtree(here)
    assert len(training_photos([mine])) == 1


# --- The command ----------------------------------------------------------------------------


def test_build_hands_its_folders_on_and_prints_one_line_of_json(monkeypatch, capsys, material):
    asked = []

    def made(*arguments):
        asked.append(arguments)
        return {"scenes": [1] * 7, "photos": [1], "foregrounds": [1, 2]}

    monkeypatch.setattr(synbokeh300, "build", made)
    folders = str(material / "photos"), str(material / "foregrounds")
    argv = ["data", "build", "--photos", folders[0], "--foregrounds", folders[1], "--scenes", "7"]
    code = cli.main([*argv, "--device", "cpu"])
    out = data.BUILT / "synbokeh300"
    assert (code, asked) == (0, [(out, *folders, Plan(scenes=7), "cpu")])
    printed = {"out": str(out), "scenes": 7, "photos": 1, "foregrounds": 2}
    assert json.loads(capsys.readouterr().out) == printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"--photos": "/no/where"},
            "--photos: found no such folder '/no/where'; accepted: a folder",
        ),
        ({"--scenes": "1.5"}, "--scenes: found '1.5'; accepted: a whole number, 1 to 9999"),
        ({"--blurs": "4"}, "found unknown --blurs"),
    ],
)
def test_bad_input_of_build_is_one_line_and_exit_code_2(
    monkeypatch, capsys, material, change, message
):
    monkeypatch.setattr(synbokeh300, "build", lambda *_: pytest.fail("built"))
    options = {f"--{name}": str(material / name) for name in ("photos", "foregrounds")} | change
    argv = [word for name, value in options.items() if value is not None for word in (name, value)]
    assert cli.main(["data", "build", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.gpu
def test_a_graphics_card_draws_the_same_scenes(material, tmp_path):
    made = [
        build(tmp_path / device, material / "photos", material / "foregrounds", SMOKE, device)
        for device in ("cpu", "cuda")
    ]
    assert [s["scene"] for s in made[0]["scenes"]] == [s["scene"] for s in made[1]["scenes"]]
