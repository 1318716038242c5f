import math

import numpy as np
import pytest
import torch

from bokehlib.optics import Lens, circle_of_confusion
from bokehlib.synthesis import (
    EVAL_FAMILIES,
    RELIEF_FAMILIES,
    TRAIN_FAMILIES,
    Layers,
    Synthesiser,
    crops,
    draw_cutouts,
    lens_points,
    lens_points_needed,
    load_cutouts,
    training_cutouts,
)
from bokehlib.synthesis.mattes import FAMILIES, rasterise
from bokehlib.synthesis.planes import to_linear

FOCAL = 150.0  # px, of the pinhole in the ray loop


def smooth_photos(count=3, size=(90, 130)):
    coarse = torch.rand(count, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    fine = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)
    return list((fine * 255).to(torch.uint8))


@pytest.fixture(scope="module")
def synthesiser():
    return Synthesiser(
        smooth_photos(),
        [draw_cutouts(TRAIN_FAMILIES, 2, seed=3)],
        size=(48, 64),
        margin=12,
        points=24,
        max_radius=10,
    )


def tilted_scene(size=(40, 48), margin=16):
    """A tilted background, a tilted glass pane with soft edges and a tilted opaque strip."""
    height, width = (n + 2 * margin for n in size)
    y = torch.arange(height)[:, None] + 0.5 - height / 2
    x = torch.arange(width)[None, :] + 0.5 - width / 2
    alphas = [
        torch.ones(height, width),
        0.45 * (12.5 - torch.hypot(y + 4, x + 6)).clamp(0, 1),
        (5.5 - (x - 0.4 * y - 3).abs()).clamp(0, 1),
    ]
    photos = [to_linear(p[:, :height, :width].float() / 255) for p in smooth_photos()]
    textures = [
        torch.cat([rgb * alpha, alpha[None]]) for rgb, alpha in zip(photos, alphas, strict=True)
    ]
    planes = torch.tensor([[0.002, -0.001, 0.2], [-0.001, 0.003, 0.5], [0.002, 0.001, 0.85]])
    return Layers(torch.stack(textures)[None], planes[None], size)


def bilinear(texture, y, x):
    """Values at (y, x) px from the middle of a texture (C, H, W), clamped to its border."""
    _, height, width = texture.shape
    y = np.clip(y + height / 2 - 0.5, 0, height - 1)
    x = np.clip(x + width / 2 - 0.5, 0, width - 1)
    top = np.minimum(np.floor(y).astype(int), height - 2)
    left = np.minimum(np.floor(x).astype(int), width - 2)
    down, right = y - top, x - left
    return (
        texture[:, top, left] * (1 - down) * (1 - right)
        + texture[:, top, left + 1] * (1 - down) * right
        + texture[:, top + 1, left] * down * (1 - right)
        + texture[:, top + 1, left + 1] * down * right
    )


def trace(layers, lens, lens_samples):
    """Rays in space, in float64: from a lens point through the point in focus to the 3D planes.

    The pinhole stands at the origin; depth is 1 / disparity, so a.p + b = d is the plane
    FOCAL a_y Y + FOCAL a_x X + b Z = 1, and the lens has the radius aperture / FOCAL.
    """
    textures = layers.textures[0].double().numpy()
    planes = layers.planes[0].double().numpy()
    height, width = layers.size
    q_y, q_x = np.meshgrid(
        np.arange(height) + 0.5 - height / 2, np.arange(width) + 0.5 - width / 2, indexing="ij"
    )
    depth = 1 / lens.focus
    in_focus = np.stack([q_y / FOCAL * depth, q_x / FOCAL * depth, np.full_like(q_y, depth)])
    total = np.zeros((3, height, width))
    for u_y, u_x in lens_samples:
        start = np.array([u_y, u_x, 0.0])[:, None, None] * lens.aperture / FOCAL
        through, colour = np.ones((height, width)), np.zeros((3, height, width))
        for texture, (a_y, a_x, b) in reversed(list(zip(textures, planes, strict=True))):
            normal = np.array([FOCAL * a_y, FOCAL * a_x, b])[:, None, None]
            ray = in_focus - start
            t = (1 - (normal * start).sum(0)) / (normal * ray).sum(0)
            hit = start + t * ray
            seen = bilinear(texture, FOCAL * hit[0] / hit[2], FOCAL * hit[1] / hit[2])
            colour += through * seen[:3]
            through = through * (1 - seen[3])
        total += colour
    return total / len(lens_samples)


def psnr(a, b):
    return -10 * math.log10(((a - b) ** 2).mean())


# --- Renderer -------------------------------------------------------------------------------


@pytest.mark.parametrize("focus", [0.2, 0.5, 0.85])
def test_renderer_agrees_with_rays_traced_in_space(focus):
    layers, lens = tilted_scene(), Lens(focus, 16.0)
    points = lens_points(24, torch.tensor([0.7]))
    out = layers.render(lens, points)[0].double().numpy()
    same_rays = trace(layers, lens, points[0].double().numpy())
    assert psnr(out, same_rays) > 90
    rings = (np.arange(12) + 0.5) / 12
    other_rays = [
        (math.sqrt(r) * math.sin(t), math.sqrt(r) * math.cos(t))
        for r in rings
        for t in 2 * math.pi * (np.arange(24) + 12 * r) / 24
    ]
    dense = layers.render(lens, lens_points(256, torch.tensor([0.7])))[0].double().numpy()
    assert psnr(dense, trace(layers, lens, other_rays)) > 45


def test_tilt_and_partial_alpha_matter_in_that_comparison():
    layers, lens = tilted_scene(), Lens(0.2, 16.0)
    points = lens_points(64, torch.zeros(1))
    out = layers.render(lens, points)
    flat = Layers(layers.textures, layers.planes * torch.tensor([0, 0, 1.0]), layers.size)
    assert psnr(out.numpy(), flat.render(lens, points).numpy()) < 45
    opaque = layers.textures.clone()
    opaque[:, 1] /= 0.45
    assert (
        psnr(out.numpy(), Layers(opaque, layers.planes, layers.size).render(lens, points).numpy())
        < 45
    )


def test_zero_aperture_is_the_all_in_focus_scene():
    layers = tilted_scene()
    out = layers.render(Lens(0.3, 0.0), lens_points(16, torch.zeros(1)))
    torch.testing.assert_close(out, layers.sharp(), atol=1e-5, rtol=0)


def test_chunks_of_lens_points_do_not_change_the_picture():
    layers, points = tilted_scene(), lens_points(13, torch.zeros(1))
    one, many = (layers.render(Lens(0.3, 9.0), points, chunk) for chunk in (1, 5))
    torch.testing.assert_close(one, many, atol=1e-6, rtol=0)


def point_light(depth=0.7, size=(64, 64), margin=16):
    textures = torch.zeros(1, 1, 4, size[0] + 2 * margin, size[1] + 2 * margin)
    textures[:, :, 3] = 1
    textures[0, 0, :3, 50, 45] = torch.tensor([8.0, 4.0, 2.0])
    return Layers(textures, torch.tensor([[[0.0, 0.0, depth]]]), size)


def test_a_point_light_keeps_its_energy():
    layers = point_light()
    for aperture in (0.0, 7.0, 26.0):
        out = layers.render(Lens(0.2, aperture), lens_points(64, torch.zeros(1)))
        torch.testing.assert_close(
            out.sum((0, 2, 3)), torch.tensor([8.0, 4.0, 2.0]), rtol=1e-4, atol=0
        )


@pytest.mark.parametrize(("depth", "focus", "aperture"), [(0.7, 0.2, 24.0), (0.1, 0.6, 16.0)])
def test_label_aperture_is_the_rendered_one(depth, focus, aperture):
    layers, lens = point_light(depth), Lens(focus, aperture)
    out = layers.render(lens, lens_points(512, torch.zeros(1)))[0, 0]
    y, x = np.mgrid[:64, :64]
    weight = out.numpy() / out.sum().item()
    middle = (weight * y).sum(), (weight * x).sum()
    assert middle == pytest.approx((34, 29), abs=0.1)
    # an even disc of radius r has the mean squared distance r^2 / 2
    spread = (weight * ((y - middle[0]) ** 2 + (x - middle[1]) ** 2)).sum()
    label = circle_of_confusion(layers.disparity(), lens)[0, 0, 34, 29].item()
    assert math.sqrt(2 * spread) == pytest.approx(label, rel=0.02)


def test_lens_points_cover_the_disc_evenly():
    points = lens_points(400, torch.tensor([0.0, 1.0]))
    radius = points.norm(dim=-1)
    assert radius.max() <= 1
    assert points.mean(1).norm(dim=-1).max() < 0.01
    for share in (0.25, 0.5, 0.75):
        assert (radius < math.sqrt(share)).float().mean().item() == pytest.approx(share, abs=0.01)
    assert not torch.allclose(points[0], points[1])
    assert [lens_points_needed(r) for r in (1, 15, 100)] == [64, 225, 1024]


def test_disparity_label_is_never_a_blend():
    layers = tilted_scene()
    label, planes = layers.disparity()[:, 0], layers.disparities()
    assert ((label[:, None] - planes).abs().amin(1) == 0).all()
    # the pane lets more than half of the light through, so what is behind it has the label
    pane = label == planes[:, 1]
    assert not pane.any()


# --- Scenes ---------------------------------------------------------------------------------


def test_a_sample_depends_on_seed_and_number_alone(synthesiser):
    several, alone = synthesiser.batch(5, [3, 0, 7]), synthesiser.batch(5, range(7, 8))
    for name in ("image", "disparity", "target"):
        torch.testing.assert_close(
            getattr(several, name)[2:], getattr(alone, name), atol=1e-6, rtol=0
        )
    torch.testing.assert_close(several.lens.aperture[2:], alone.lens.aperture)
    assert synthesiser.draw(5, 7) != synthesiser.draw(6, 7)
    before = torch.random.get_rng_state()
    synthesiser.batch(5, [1])
    assert torch.equal(before, torch.random.get_rng_state())


def test_nearer_layers_are_nearer_everywhere_and_disparity_stays_in_range(synthesiser):
    for n in range(60):
        planes = torch.tensor(synthesiser.draw(2, n).planes)
        margin = synthesiser.margin
        canvas = tuple(side + 2 * margin for side in synthesiser.size)
        depth = Layers(torch.zeros(1), planes, canvas).disparities()
        assert (depth[1:] > depth[:-1]).all()
        assert depth.min() > 0
        assert depth.max() < 1


def test_largest_blur_is_the_one_that_was_drawn(synthesiser):
    ns = range(12)
    batch = synthesiser.batch(4, ns)
    radius = torch.tensor([synthesiser.draw(4, n).radius for n in ns])
    assert (radius <= synthesiser.max_radius).all()
    blur = circle_of_confusion(batch.disparity, batch.lens).amax((1, 2, 3))
    # glass too thin to carry the label may be blurred more than what is labelled
    assert (blur <= radius * 1.0001).all()
    assert (blur > 0.98 * radius).float().mean() > 0.5


def test_focus_is_the_mean_disparity_of_a_layer(synthesiser):
    for n in range(8):
        scene = synthesiser.draw(4, n)
        layers = synthesiser.layers([scene])
        lens = synthesiser.lens([scene], layers)
        seen = layers.visible()[0, scene.focus]
        mean = (seen * layers.disparities()[0, scene.focus]).sum() / seen.sum()
        if seen.sum() > 0:
            assert lens.focus.item() == pytest.approx(mean.item(), abs=1e-5)
    kinds = [synthesiser.draw(4, n).focus > 0 for n in range(200)]
    assert 0.4 < np.mean(kinds) < 0.6


def test_visible_shares_add_up_to_all_light(synthesiser):
    layers = synthesiser.layers([synthesiser.draw(4, n) for n in range(4)])
    torch.testing.assert_close(layers.visible().sum(1), torch.ones(4, *synthesiser.size))


def test_lamps_shine_brighter_than_the_display_can_show(synthesiser):
    lit = [n for n in range(40) if synthesiser.draw(4, n).lamps]
    assert 5 < len(lit) < 25
    scenes = [synthesiser.draw(4, n) for n in lit[:4]]
    assert (synthesiser.layers(scenes).textures[:, 0].amax((1, 2, 3)) > 1.9).all()


def test_margin_must_hold_the_largest_radius():
    with pytest.raises(ValueError, match="margin 8 px"):
        Synthesiser(smooth_photos(), training_cutouts(each=1), margin=8, max_radius=9)


# --- Photographs ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 60), (50, 40)])
def test_a_crop_at_the_photos_own_scale_has_the_photos_own_pixels(size):
    (photo,) = smooth_photos(1, size=size)
    windows = (photo.float() / 255).unfold(1, 32, 1).unfold(2, 40, 1)
    windows = windows.permute(1, 2, 0, 3, 4).flatten(0, 1)  # (n, 3, 32, 40)
    plain = mirrored = 0
    for crop in crops([photo], (32, 40))(0, range(8)):
        plain += bool((windows - crop).abs().amax((1, 2, 3)).min() < 1e-6)
        mirrored += bool((windows - crop.flip(-1)).abs().amax((1, 2, 3)).min() < 1e-6)
    assert plain > 0
    assert mirrored > 0
    assert plain + mirrored == 8


def test_crops_depend_on_seed_and_number_alone_and_stay_in_range():
    draw = crops(smooth_photos(), (24, 32))
    out = draw(7, range(10))
    assert out.shape == (10, 3, 24, 32)
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(out[4:5], draw(7, [4]))
    assert not torch.equal(out[4], draw(8, [4])[0])


# --- Cut-outs -------------------------------------------------------------------------------


def test_families_of_training_and_evaluation_are_disjoint():
    assert not set(TRAIN_FAMILIES) & set(EVAL_FAMILIES)
    assert not set(RELIEF_FAMILIES) & set(EVAL_FAMILIES)
    assert {*TRAIN_FAMILIES, *RELIEF_FAMILIES, *EVAL_FAMILIES} == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_a_cut_out_that_ends_inside_its_square(family):
    bank = draw_cutouts([family], 3, seed=1)
    alpha = bank.rgba[:, 3].float() / 255
    assert not bank.coloured.any()
    assert torch.equal(alpha[2], draw_cutouts([family], 3, seed=1).rgba[2, 3].float() / 255)
    assert not torch.equal(alpha[0], alpha[1])
    assert (alpha.mean((1, 2)) > 0.01).all()
    assert (alpha.mean((1, 2)) < 0.8).all()
    edge = torch.cat([alpha[:, [0, -1]].flatten(1), alpha[:, :, [0, -1]].flatten(1)], 1)
    assert edge.max() == 0


@pytest.mark.parametrize("family", ["hair", "wires", "fur", "fern", "fence"])
def test_strands_of_a_pixel_or_two_are_really_there(family):
    alpha = draw_cutouts([family], 2, seed=1).rgba[:, 3:].float() / 255
    opened = -torch.nn.functional.max_pool2d(-alpha, 3, 1, 1)
    opened = torch.nn.functional.max_pool2d(opened, 3, 1, 1)  # what is left of 3 px and more
    thin = (alpha - opened > 0.4).float().mean((1, 2, 3))
    assert (thin > 0.004).all()


@pytest.mark.parametrize("family", ["glass", "bubbles"])
def test_glass_lets_part_of_the_light_through(family):
    alpha = draw_cutouts([family], 3, seed=1).rgba[:, 3].float() / 255
    inside = (alpha > 0.18) & (alpha < 0.7)
    assert (inside.float().mean((1, 2)) > 0.03).all()


def test_a_thin_stroke_covers_its_own_width():
    from bokehlib.synthesis.primitives import strands, union

    for half_width in (0.35, 0.8, 3.0):
        alpha = rasterise(union(strands(128, 40, 0, 150, 0, half_width, half_width)))
        assert alpha[0, :, 100].sum().item() == pytest.approx(2 * half_width, rel=0.1)


def test_folder_of_rgba_files_is_cropped_to_its_alpha(tmp_path):
    from PIL import Image

    rgba = np.zeros((60, 90, 4), np.uint8)
    rgba[10:30, 20:60] = (200, 40, 10, 255)
    Image.fromarray(rgba).save(tmp_path / "box.png")
    Image.fromarray(rgba[..., :3]).save(tmp_path / "opaque.png")
    bank = load_cutouts(tmp_path)
    assert len(bank) == 1
    assert bank.coloured.all()
    alpha = bank.rgba[0, 3].float() / 255
    assert alpha.sum().item() == pytest.approx(256 * 128, rel=0.02)
    inner = bank.rgba[0, :3][:, alpha > 0]
    assert (inner.float().mean(1) - torch.tensor([200.0, 40, 10])).abs().max() < 1.5


def test_folder_without_cutouts_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="found no picture with transparency"):
        load_cutouts(tmp_path)
