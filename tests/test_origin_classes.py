"""Where the light of a pixel comes from, on scenes whose answer geometry gives."""

import math

import numpy as np
import pytest
import torch

from bokehlib import data, study
from bokehlib.data import synbokeh
from bokehlib.evaluation import origin_classes, origins
from bokehlib.optics import Lens
from bokehlib.synthesis import Layers, lens_points

SIZE, MARGIN = (24, 64), 16
EDGE = 32  # px from the left: the near layer covers what is right of it
FAR, NEAR = 0.2, 0.6
RADIUS = 8.0  # px
POINTS = lens_points(1024, torch.zeros(1))


def scene(*alphas, depths=(FAR, NEAR)):
    """An opaque wall and before it layers of these alphas, (H, W) over the whole canvas."""
    height, width = (n + 2 * MARGIN for n in SIZE)
    covers = [torch.ones(height, width), *alphas]
    textures = torch.stack([torch.stack([0.5 * a, 0.5 * a, 0.5 * a, a]) for a in covers])
    planes = torch.tensor([[0.0, 0.0, depth] for depth in depths])
    return Layers(textures[None], planes[None], SIZE)


def right_half(alpha=1.0):
    cover = torch.zeros(SIZE[0] + 2 * MARGIN, SIZE[1] + 2 * MARGIN)
    cover[:, EDGE + MARGIN :] = alpha
    return cover


def segment(distance):
    """Share of a disc of radius 1 that lies beyond a line at this distance from its centre."""
    d = np.clip(distance, -1, 1)
    return (np.arccos(d) - d * np.sqrt(1 - d * d)) / math.pi


def row(found):
    """A row in the middle: every row is alike, but the sides look beyond the canvas."""
    return found[0, SIZE[0] // 2]


@pytest.mark.parametrize(("focus", "sharp"), [(NEAR, "edge"), (FAR, "wall")])
def test_what_lacks_coverage_is_the_part_of_the_lens_that_sees_behind_the_edge(focus, sharp):
    lens = Lens(focus, RADIUS / (NEAR - FAR))
    coverage, shares = origin_classes.coverage_and_shares(scene(right_half()), lens, POINTS)
    torch.testing.assert_close(shares.sum(1), torch.ones_like(coverage))
    x = np.arange(SIZE[1]) + 0.5 - EDGE  # px right of the edge
    if sharp == "edge":  # the wall's discs reach behind it; nothing is seen through it
        hidden = np.where(x < 0, segment(-x / RADIUS), 0.0)
        near = np.where(x > 0, 1.0, 0.0)
    else:  # beside the near edge the lens looks past it, at the wall behind
        hidden = np.where(x > 0, segment(x / RADIUS), 0.0)
        near = segment(-x / RADIUS)
    away = np.abs(x) > 1  # the edge of a texture is a ramp one pixel wide
    assert row(1 - coverage).numpy()[away] == pytest.approx(hidden[away], abs=0.03)
    assert row(shares[:, 1]).numpy()[away] == pytest.approx(near[away], abs=0.03)
    assert hidden[away].max() > 0.35


@pytest.mark.parametrize("focus", [NEAR, FAR])
def test_each_side_of_an_edge_is_of_the_class_that_geometry_gives_it(focus):
    lens = Lens(focus, RADIUS / (NEAR - FAR))
    found = row(origin_classes.origins(scene(right_half()), lens, POINTS)).tolist()
    beyond = math.ceil(RADIUS)
    far, near = found[: EDGE - beyond], found[EDGE + beyond :]
    assert set(far) == {origin_classes.SMOOTH if focus == NEAR else origin_classes.IN_FOCUS}
    assert set(near) == {origin_classes.IN_FOCUS if focus == NEAR else origin_classes.SMOOTH}
    before, behind = found[EDGE - 5 : EDGE - 1], found[EDGE + 1 : EDGE + 5]
    assert set(before) == {origin_classes.HIDDEN if focus == NEAR else origin_classes.EDGE}
    assert set(behind) == {origin_classes.IN_FOCUS if focus == NEAR else origin_classes.HIDDEN}


def test_a_closed_lens_sees_what_the_photo_shows():
    coverage, shares = origin_classes.coverage_and_shares(
        scene(right_half()), Lens(NEAR, 0.0), POINTS
    )
    assert coverage.min() > 0.999
    assert shares[0, :, :, :EDGE].amax((1, 2)).tolist() == pytest.approx([1, 0], abs=1e-6)


def test_behind_glass_a_wall_is_seen_as_far_as_the_glass_lets_it():
    lens = Lens(NEAR, RADIUS / (NEAR - FAR))
    everywhere = torch.full_like(right_half(), 0.25)
    coverage, shares = origin_classes.coverage_and_shares(scene(everywhere), lens, POINTS)
    assert row(shares[:, 1]).mean().item() == pytest.approx(0.25, abs=1e-4)
    assert row(coverage).mean().item() == pytest.approx(0.25 + 0.75 * 0.75, abs=1e-4)


def test_layers_beyond_the_colours_of_one_render_count_too():
    depths = (0.1, 0.2, 0.3, 0.4, 0.5)
    panes = [torch.full_like(right_half(), 0.5)] * 4
    _, shares = origin_classes.coverage_and_shares(
        scene(*panes, depths=depths), Lens(0.3, 0.0), POINTS
    )
    found = shares.mean((0, 2, 3)).tolist()
    assert found == pytest.approx([1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2], abs=1e-5)


def test_less_light_than_the_share_does_not_count():
    lens = Lens(FAR, RADIUS / (NEAR - FAR))
    for alpha, wanted in (
        (study.ORIGIN_SHARE - 0.01, origin_classes.IN_FOCUS),
        (0.2, origin_classes.HIDDEN),
    ):
        found = row(origin_classes.origins(scene(right_half(alpha)), lens, POINTS))
        assert set(found[EDGE + 9 :].tolist()) == {wanted}


def test_the_radius_decides_between_in_focus_and_smooth_blur():
    for radius, wanted in ((0.4, origin_classes.IN_FOCUS), (0.6, origin_classes.SMOOTH)):
        lens = Lens(NEAR, radius / (NEAR - FAR))
        assert set(
            row(origin_classes.origins(scene(right_half()), lens, POINTS))[:20].tolist()
        ) == {wanted}


# --- The committed classes -------------------------------------------------------------------


def test_written_classes_come_back_and_the_same_classes_are_the_same_file(tmp_path):
    frozen = data.manifest()["scenes"][0]["name"]
    classes = np.random.default_rng(0).integers(0, 4, (4, 6, 9)).astype(np.uint8)
    path = tmp_path / f"{frozen}.webp"
    origin_classes.write(classes, path)
    first = path.read_bytes()
    assert np.array_equal(origins.read(frozen, tmp_path), classes)
    origin_classes.write(classes, path)
    assert path.read_bytes() == first


def test_the_committed_classes_are_those_of_the_true_layers():
    entry = data.manifest()["scenes"][4]
    with torch.no_grad():
        made = origin_classes.of_scene(synbokeh.synthesiser(), entry, (0,))[0]
    kept = origins.read(entry["name"])[0]
    assert (made == kept).mean() > 0.999
    assert {*np.unique(kept)} == {*range(len(study.ORIGINS))}


def test_every_picture_of_the_benchmark_has_classes_of_its_size_and_they_are_small():
    for entry in data.manifest()["scenes"]:
        found = origins.read(entry["name"])
        assert found.shape == (len(entry["lens"]), *synbokeh.SIZE)
        assert found.max() < len(study.ORIGINS)
    assert sum(path.stat().st_size for path in data.ORIGINS.iterdir()) < 160_000
