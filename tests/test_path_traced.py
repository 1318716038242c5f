"""Laws of the path-traced scenes: optics, originals, the data set, BLB's layout, passes."""

import contextlib
import io
import itertools
import json
import math
import shutil
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec

import mortal
import numpy as np
import pytest
import strand_ends
import torch

from bokehlib import optics
from bokehlib.data import file_hash
from bokehlib.data.published_sets import blb, path_traced
from bokehlib.extras.pathtracing import (
    camera,
    committed,
    exports,
    jobs,
    originals,
    scenes,
    shapes,
    textures,
    tracing,
)
from bokehlib.extras.pathtracing.__main__ import main
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens

NAMES = ("hair", "glasses")
SIZE = (64, 96)
SAMPLES = 16


@pytest.fixture(scope="module", autouse=True)
def small():
    """Pictures of `SIZE`, encoded at few qualities."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (jobs, originals):
            patch.setattr(module, "SIZE", SIZE)
        patch.setattr(committed, "QUALITIES", (60, 80, 95))
        patch.setattr(committed, "SPEED", 10)
        yield


@pytest.fixture(scope="module")
def passes(tmp_path_factory):
    """Made-up passes of two scenes: gradients with noise, one pass a half, two of one picture."""
    root = tmp_path_factory.mktemp("passes")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] / 30
    for number, scene in enumerate(NAMES):
        folder = root / scene
        folder.mkdir()
        depth = 1 + x + number * y
        depth[:10] = np.inf
        np.save(folder / "depth.npy", depth.astype(np.float32))
        for picture in jobs.PICTURES:
            light = 0.2 + 0.1 * np.stack([x, y, x + 2 * y], axis=-1)
            for half in range(jobs.HALVES):
                for count in range(2 if picture == "far_1" else 1):
                    noisy = light + rng.normal(0, 0.01, light.shape)
                    np.save(folder / jobs._name(picture, half, count), noisy.astype(np.float32))
    return root


@pytest.fixture(scope="module")
def made(passes, tmp_path_factory):
    """The originals of those passes, and the description that was written with them."""
    out = tmp_path_factory.mktemp("originals")
    return out, originals.gather(jobs.Plan(passes, NAMES, samples=SAMPLES), out)


@pytest.fixture(scope="module")
def packed(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "rendered"
    assert main(["pack", str(made[0]), "--out", str(out), "--megabytes", "0.1"]) == 0
    return out


# --- Optics ----------------------------------------------------------------------------------


def test_the_stored_lens_blurs_by_the_radius_of_a_thin_lens():
    """In similar triangles: what is at z spreads over R |z - f| / z on the plane of focus."""
    depth, fov, width, radius = np.linspace(0.6, 9, 50).reshape(5, 10), 40.0, 384, 0.013
    for focus in (0.8, 5.0):
        on_plane = radius * np.abs(depth - focus) / depth
        pixels = on_plane / (2 * focus * math.tan(math.radians(fov / 2))) * width
        strength = radius * camera.pixel_focal(width, fov)
        assert camera.lens_radius(strength, width, fov) == pytest.approx(radius)
        disparity, nearest = camera.disparity_of(depth)
        lens = Lens(*camera.lens_of(strength, focus, nearest))
        found = optics.circle_of_confusion(torch.from_numpy(disparity)[None, None], lens)
        assert found.numpy()[0, 0] == pytest.approx(pixels)


def test_disparity_is_affine_in_the_inverse_depth_and_one_where_nearest():
    depth = np.array([[0.5, 2.0, np.inf], [1.0, 4.0, 8.0]])
    disparity, nearest = camera.disparity_of(depth)
    assert nearest == 0.5
    assert disparity.max() == 1
    assert disparity[0, 2] == 0
    slope = np.diff(disparity.ravel()) / np.diff((1 / depth).ravel())
    assert slope == pytest.approx(nearest)


def test_the_most_blurred_pixel_has_the_radius_of_its_level_under_one_focus_or_the_other():
    eye = camera.Camera(1.0, 0.0, 40.0, near=1.0, far=4.0)
    depth = np.linspace(0.9, 20, 100).reshape(10, 10)
    for strength, wanted in zip(camera.strengths(depth, eye), camera.RADII, strict=True):
        most = [camera.blur_radius(depth, eye.focus(f), strength).max() for f in camera.FOCUSES]
        assert max(most) == pytest.approx(wanted)
        assert min(most) < wanted


def test_every_second_scene_begins_with_the_other_focus():
    assert camera.lenses(0)[2] == ("near", 2)
    assert camera.lenses(1)[2] == ("far", 2)
    assert {*camera.lenses(1)} == {*camera.lenses(0)}


# --- Scenes ----------------------------------------------------------------------------------


def arrays_of(world):
    """All numbers of a scene, in order."""
    for thing in world.things:
        material = thing.material.get("bsdf", thing.material).values()
        parts = [*vars(thing.shape).values(), *material, thing.light]
        yield from (part for part in parts if isinstance(part, np.ndarray))


@pytest.fixture(scope="module")
def worlds():
    return {name: scenes.build(name) for name in scenes.SCENES}


def test_there_are_twelve_scenes_and_some_have_curves_glass_and_lamps(worlds):
    assert len(worlds) >= 12
    curved = [
        w for w in worlds.values() if any(isinstance(t.shape, shapes.Strands) for t in w.things)
    ]
    assert len(curved) > 8
    assert any(t.material["type"] == "thindielectric" for t in worlds["glasses"].things)
    assert sum(world.lamps for world in worlds.values()) >= 2


def test_no_scene_has_a_broken_number(worlds):
    for world in worlds.values():
        assert world.camera.near < world.camera.far
        assert np.isfinite(world.sky).all()
        assert all(np.isfinite(array).all() for array in arrays_of(world))


@pytest.mark.parametrize("name", ["hair", "glasses", "dandelions"])
def test_a_scene_is_drawn_from_its_seed_alone(worlds, name):
    first = [*arrays_of(worlds[name])]
    again, other = ([*arrays_of(scenes.build(name, seed))] for seed in (scenes.SEED, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(
        a.shape == b.shape and np.array_equal(a, b) for a, b in zip(first, other, strict=False)
    )


def test_the_normal_of_a_vertex_without_a_face_is_finite():
    cone = shapes.lathe([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.0, 1.0)], (0, 0, 0), 8)
    assert np.linalg.norm(shapes.normals(cone), axis=1) == pytest.approx(1)
    assert len(shapes.solid(cone)) < len(cone.faces)


def test_a_strand_reaches_its_ends():
    """A uniform cubic B-spline begins at (p0 + 4 p1 + p2) / 6."""
    path = shapes.strand([(0, 0, 0), (1, 2, 0), (3, 1, 1)], 0.1).points[0]
    assert (path[0] + 4 * path[1] + path[2]) / 6 == pytest.approx(np.zeros(3))
    assert (path[-3] + 4 * path[-2] + path[-1]) / 6 == pytest.approx(np.array([3, 1, 1]))


def test_textures_are_reflectances():
    rng = np.random.default_rng(0)
    for made in (
        textures.planks(rng, (0.1, 0.1, 0.1), (0.6, 0.4, 0.2)),
        textures.bricks(rng, (0.1, 0.1, 0.1), (0.6, 0.3, 0.2), (0.5, 0.5, 0.5), 4),
        textures.checks(rng, (0.7, 0.6, 0.5), (0.1, 0.1, 0.1), (4, 4)),
    ):
        assert made.dtype == np.float32
        assert made.min() >= 0
        assert made.max() < 1


# --- Passes and originals --------------------------------------------------------------------


def test_the_noise_floor_of_two_halves_is_that_of_their_mean():
    rng = np.random.default_rng(0)
    truth = np.full((*SIZE, 3), 0.4)
    halves = [truth + rng.normal(0, 0.02, truth.shape) for _ in range(2)]
    error = np.mean((jobs.display(sum(halves) / 2) - jobs.display(truth)) ** 2)
    assert jobs.noise_floor(*halves) == pytest.approx(-10 * math.log10(error), abs=0.1)
    assert jobs.noise_floor(truth, truth) == math.inf


def test_the_noisiest_picture_is_next_and_none_is_begun_that_would_end_too_late(passes):
    plan = jobs.Plan(passes, NAMES, seconds=100.0)
    pictures = [jobs._found(plan, NAMES[0], name) for name in jobs.PICTURES]
    assert {p.name: p.measured for p in pictures}["far_1"] == 2
    pictures[3].floor -= 9
    start = time.perf_counter()
    begun = jobs._next(plan, pictures, start)
    assert begun == [jobs.Pass(pictures[3], half, 1) for half in (0, 1)]
    for picture in pictures:
        picture.seconds = 95.0
    assert jobs._next(plan, pictures, start) == []


# --- Passes that die -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def survived(tmp_path_factory):
    """A run with `mortal` passes: its folder, what it printed, what it complained of."""
    root, told = tmp_path_factory.mktemp("survived"), io.StringIO()
    (root / "hair").mkdir()
    np.save(root / "hair" / "depth.npy", np.ones((4, 6), dtype=np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "SIZE", (4, 6))
        patch.setattr(jobs, "MOST", 2)
        patch.setattr(jobs, "TRIES", mortal.TRIES)
        patch.setattr(jobs, "PICTURES", ("sharp", "near_0", "far_1"))
        with contextlib.redirect_stdout(told), pytest.raises(InputError) as complaint:
            jobs.run(jobs.Plan(root, ["hair"], cores=3), mortal.render_pass)
    return root / "hair", [json.loads(line) for line in told.getvalue().splitlines()], complaint


def test_a_pass_that_dies_costs_only_itself_and_is_tried_again_with_the_next_seed(survived):
    folder, told, _ = survived
    for picture, attempt in (("sharp", 1), ("near_0", 0)):
        for which, number in itertools.product(range(jobs.HALVES), range(2)):
            light = np.load(folder / jobs._name(picture, which, number))
            assert light == pytest.approx(0.1 * which + 0.001 * attempt)
    died = [line["died"].split("-")[0] for line in told if "died" in line]
    assert died.count("hair/sharp") == 4
    assert [line["passes"] for line in told if "passes" in line] == [*range(1, 9)]


def test_a_pass_that_always_dies_is_given_up_and_its_picture_named(survived):
    folder, told, complaint = survived
    assert not [*folder.glob("far_1*")]
    tries = Counter(line["died"] for line in told if line.get("died", "").startswith("hair/far_1"))
    assert [*tries.values()] == [mortal.TRIES] * jobs.HALVES
    found = f"died {mortal.TRIES} times, so that 1 pictures are lacking (hair/far_1); accepted: an"
    assert found in str(complaint.value)


def test_no_two_attempts_share_a_seed():
    parts = range(2), range(84), range(jobs.HALVES), range(0, jobs.MOST, 9), range(jobs.TRIES)
    every = [jobs.sampler_seed(*place) for place in itertools.product(*parts)]
    assert len({*every}) == len(every)


def test_the_last_segment_of_a_curve_file_is_never_hit():
    """Mitsuba 3.9.1 reads past its arrays for a hit at the end of the last segment."""
    shape = shapes.strands(np.arange(24.0).reshape(2, 4, 3), 0.1, 0.2)
    curves = [np.loadtxt(c.splitlines()) for c in tracing._curves(shape).strip().split("\n\n")]
    assert [len(curve) for curve in curves] == [6, 6, 4]
    assert np.array_equal(curves[-1][:, :3], curves[-2][:4, :3])
    assert not curves[-1][:, 3].any()
    assert (curves[-2][:, 3] > 0).all()


def test_a_pass_more_makes_a_picture_less_noisy(made):
    for entry in made[1]["scenes"]:
        floors = entry["noise_floor_db"]
        assert floors["far_1"] - floors["far_0"] == pytest.approx(3, abs=0.3)
        assert entry["passes"]["far_1"] == 2


def test_originals_come_back_linear_and_with_their_depth(made, passes):
    folder, description = made
    assert description == originals.read_description(folder)
    arrays = originals.read_scene(folder, description["scenes"][0])
    assert {*arrays} == {"depth", *jobs.PICTURES}
    assert np.array_equal(arrays["depth"], np.load(passes / NAMES[0] / "depth.npy"))
    mean = np.mean([jobs.half(passes / NAMES[0], "sharp", half, 1) for half in (0, 1)], axis=0)
    assert arrays["sharp"] == pytest.approx(mean, rel=1e-3)


# --- The data set ----------------------------------------------------------------------------


def test_the_data_set_is_read_as_it_was_rendered(made, packed):
    shots = path_traced.contents(packed).shots
    assert [shot.blur for shot in shots] == [*range(6)] * 2
    manifest = json.loads((packed / "manifest.json").read_text())
    for number, entry in enumerate(made[1]["scenes"]):
        arrays = originals.read_scene(made[0], entry)
        disparity, _ = camera.disparity_of(arrays["depth"])
        for blur, (focus, level) in enumerate(camera.lenses(number)):
            read = shots[6 * number + blur].read()
            assert read.disparity == pytest.approx(disparity, abs=9 / 65535)
            wanted = camera.blur_radius(
                arrays["depth"], entry["focus"][focus], entry["strengths"][level]
            )
            found = read.aperture * np.abs(read.disparity - read.focus)
            assert found == pytest.approx(wanted, abs=0.02)
            for name, picture in (("sharp", read.image), (f"{focus}_{level}", read.target)):
                off = np.mean((picture - jobs.display(arrays[name])) ** 2)
                assert -10 * math.log10(off) >= manifest["encoding_bound_db"] - 0.01
                assert manifest["scenes"][number]["encoding_db"][name] > 30


def test_the_data_set_stays_below_the_size_that_was_asked_for_and_names_every_hash(packed):
    files = [file for file in packed.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 0.1e6
    for entry in json.loads((packed / "manifest.json").read_text())["scenes"]:
        folder = packed / entry["name"]
        assert entry["files"] == {file.name: file_hash(file) for file in folder.iterdir()}
        assert entry["name"] in (packed / "README.md").read_text()


def test_another_picture_in_the_place_of_one_is_refused(packed, tmp_path):
    copy = tmp_path / "rendered"
    shutil.copytree(packed, copy)
    shot = path_traced.contents(copy).shots[0]
    shutil.copy(copy / "hair" / "near_1.avif", copy / "hair" / "sharp.avif")
    with pytest.raises(InputError, match=r"sharp.avif: found .*; accepted: the file with SHA-256"):
        shot.read()


def test_too_few_bytes_leave_nothing_behind(made, tmp_path, capsys):
    out = tmp_path / "rendered"
    assert main(["pack", str(made[0]), "--out", str(out), "--megabytes", "0.001"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


# --- BLB's layout ----------------------------------------------------------------------------


def test_blbs_reader_finds_the_same_lens_and_pictures(made, tmp_path):
    pytest.importorskip("OpenEXR")
    assert main(["export", str(made[0]), "--out", str(tmp_path), "--layout", "blb"]) == 0
    shots = blb.contents(tmp_path).shots
    assert len(shots) == len(NAMES) * len(camera.FOCUSES)
    entry = {entry["name"]: entry for entry in made[1]["scenes"]}[shots[1].name]
    arrays, read = originals.read_scene(made[0], entry), shots[1].read()
    assert read.target == pytest.approx(jobs.display(arrays["far_2"]), abs=1e-3)
    assert read.image == pytest.approx(jobs.display(arrays["sharp"]), abs=1e-3)
    radius = read.aperture * np.abs(read.disparity - read.focus)
    wanted = camera.blur_radius(arrays["depth"], entry["focus"]["far"], entry["strengths"][2])
    seen = np.isfinite(arrays["depth"])
    assert radius[seen] == pytest.approx(wanted[seen], rel=1e-3, abs=1e-4)


def test_blur_grows_from_level_to_level():
    blurs = exports.blb_info({"strengths": [2.0, 5.0, 9.0], "focus": {"near": 1, "far": 2}})
    assert blurs == {"focus_distances": [1, 2], "blur_parameters": [0.5, 1.0, 2.0, 5.0, 9.0]}


# --- Mitsuba ---------------------------------------------------------------------------------


@pytest.mark.skipif(find_spec("mitsuba") is None, reason="bokehlib[render] is not installed")
def test_a_point_of_light_becomes_a_disc_of_the_radius_that_its_disparity_says(monkeypatch):
    from bokehlib.extras.pathtracing.world import World, matte

    monkeypatch.setattr(tracing, "SIZE", (64, 96))
    eye = camera.Camera(0.0, 0.0, 40.0, near=1.0, far=3.0)
    world = World(eye, np.zeros((4, 8, 3), dtype=np.float32))
    world.shine(shapes.Ball((0.2, 0.1, 2.0), 0.02), (1.0, 1.0, 1.0))
    world.add(shapes.quad((-9, -9, 4), (18, 0, 0), (0, 18, 0)), matte((0.0, 0.0, 0.0)))
    strength = 24.0
    light = tracing.light(world, camera.lens_radius(strength, 96, 40.0), 1.0, 1024, 0, 1024)
    y, x = np.mgrid[:64, :96] + 0.5
    share = light[..., 0] / light[..., 0].sum()
    middle = (share * x).sum(), (share * y).sum()
    focal = camera.pixel_focal(96, 40.0)
    assert middle == pytest.approx((48 + focal * 0.1, 32 - focal * 0.05), abs=0.2)
    spread = (share * ((x - middle[0]) ** 2 + (y - middle[1]) ** 2)).sum()
    assert math.sqrt(2 * spread) == pytest.approx(camera.blur_radius(2.0, 1.0, strength), rel=0.03)
    depth = tracing.depth(world)
    assert depth[32, 10] == pytest.approx(4, rel=1e-4)
    assert depth[int(middle[1]), int(middle[0])] == pytest.approx(2, rel=0.01)


@pytest.mark.skipif(find_spec("mitsuba") is None, reason="bokehlib[render] is not installed")
def test_rays_at_the_ends_of_strands_do_not_end_the_process():
    subprocess.run([sys.executable, strand_ends.__file__], check=True)
