"""What the study adds to the paper: each switch off changes nothing, each on does what it says."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from bokehlib.bokehdiff import adapters, mini, residual
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.classical import layers
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens, token_radius, visibility
from bokehlib.pisa import coverage
from bokehlib.pisa.processor import PisaProcessor, TokenOptics, pisa_sites
from bokehlib.study import BEYOND, PHYSICS, Pisa, Recipe, recipe_from

LENS = Lens(0.3, 20.0)
NEW = {**BEYOND, **PHYSICS}


def scene(height=24, width=40, batch=1, seed=0):
    draw = torch.Generator().manual_seed(seed)
    image = torch.rand(batch, 3, height, width, generator=draw)
    return image, torch.rand(batch, 1, height, width, generator=draw)


def render(pipeline, image, disparity, lens=LENS):
    with torch.no_grad():
        return pipeline.transform(image, disparity, lens)


# --- At the start of training ------------------------------------------------------------------


def test_channels_beside_the_latent_change_nothing_before_they_are_trained():
    picture = scene()
    wide = mini.tiny(Recipe(optics_channels=True))
    assert wide.unet.config.in_channels == wide.unet.conv_in.weight.shape[1] == 8 + 2
    torch.testing.assert_close(render(wide, *picture), render(mini.tiny(), *picture))


def test_detail_is_added_by_its_formula():
    image, disparity = scene(32, 48)
    disparity = 0.3 + 0.1 * (disparity - 0.5)  # radii up to 1 px
    with_detail, without = mini.tiny(Recipe(detail=True)), mini.tiny()
    added = with_detail.transform(image, disparity, LENS, halo=0)
    added = added - without.transform(image, disparity, LENS, halo=0)
    lost = image - without.decode(without.encode(image))
    kept = residual.in_focus_weight(disparity, LENS)
    assert 0 < kept.mean() < 1
    torch.testing.assert_close(added, kept * lost, rtol=0, atol=1e-5)


def test_the_classical_render_is_corrected_by_its_formula():
    image, disparity = scene(32, 48)
    corrected, plain = mini.tiny(Recipe(classical=True)), mini.tiny()
    assert corrected.unet.config.in_channels == 8 + 8
    blurred = layers.render(image, disparity, LENS)
    start = corrected.transform(image, disparity, LENS, halo=0)
    torch.testing.assert_close(start, blurred, rtol=0, atol=1e-5)
    corrected.unet.conv_out.load_state_dict(plain.unet.conv_out.state_dict())
    latent, share = plain.encode(image), 0.277670  # alpha-bar at 499
    tokens = plain.token_optics(disparity, LENS, 1e6)
    noise = (latent - share**0.5 * plain.denoise(latent, tokens)) / (1 - share) ** 0.5
    estimate = plain.encode(blurred) - ((1 - share) / share) ** 0.5 * noise
    expected = blurred + plain.decode(estimate) - plain.decode(plain.encode(blurred))
    found = corrected.transform(image, disparity, LENS, halo=0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_in_focus_detail_gives_the_photograph_back_where_the_latent_is_left_alone(monkeypatch):
    image, disparity = scene()
    pipeline = mini.tiny(Recipe(detail=True))
    monkeypatch.setattr(pipeline, "denoise", lambda latent, *_: latent)
    found = render(pipeline, image, torch.full_like(disparity, LENS.focus))
    torch.testing.assert_close(found, image, rtol=0, atol=1e-5)


def test_a_perfect_autoencoder_leaves_the_classical_render_and_its_correction(monkeypatch):
    image, disparity = scene(32, 48)
    pipeline = mini.tiny(Recipe(classical=True))
    monkeypatch.setattr(pipeline, "encode", lambda picture: 2 * picture - 1)
    monkeypatch.setattr(pipeline, "decode", lambda latent: (latent + 1) / 2)
    monkeypatch.setattr(pipeline, "denoise", lambda latent, tokens, beside: beside + 0.5)
    found = pipeline.transform(image, disparity, LENS, halo=0)
    torch.testing.assert_close(
        found, layers.render(image, disparity, LENS) + 0.25, rtol=0, atol=1e-4
    )


def test_a_correction_stays_near_outlines(monkeypatch):
    image, disparity = scene(32, 96)
    disparity[..., :32], disparity[..., 32:] = LENS.focus, 0.0  # 6 px of blur from behind
    image[..., 16, 80] = 1.0
    pipeline = mini.tiny(Recipe(detail=True, classical=True))
    monkeypatch.setattr(pipeline, "denoise", lambda latent, tokens, beside: beside + 0.5)
    correction = pipeline.transform(image, disparity, LENS, halo=0)
    correction -= layers.render(image, disparity, LENS)
    corrected = (correction != 0).any(dim=1)[0]
    assert corrected[:, 24:40].all()
    assert not corrected[:, :20].any()
    assert not corrected[:, 45:].any()


def test_the_switches_are_saved_with_the_pipeline(tmp_path):
    pisa = Pisa(visibility="thin_lens", divide_by_coverage=True)
    recipe = Recipe(classical=True, optics_channels=True, pisa=pisa)
    pipeline = mini.tiny(recipe)
    for layer in (pipeline.unet.conv_in, pipeline.unet.conv_out):
        layer.weight.data.normal_()
    pipeline.save_pretrained(tmp_path)
    again = BokehPipeline.from_pretrained(tmp_path)
    assert again.extra_channels == 8 + 2
    torch.testing.assert_close(render(again, *scene()), render(pipeline, *scene()))


# --- Training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mini_channels", "mini_residual"])
def test_the_gradient_reaches_every_new_channel(name):
    pipeline = mini.tiny(NEW[name])
    adapters.add_adapters(pipeline, NEW[name])
    torch.nn.init.normal_(next(pipeline.unet.conv_out.parameters()))  # zero before the first step
    image, disparity = scene(32, 32)
    (pipeline.transform(image, disparity, LENS) - image).square().mean().backward()
    assert "unet.conv_in.weight" in adapters.trained(pipeline)
    assert ("unet.conv_out.weight" in adapters.trained(pipeline)) == pipeline.config.classical
    gradient = pipeline.unet.conv_in.weight.grad[:, 8:]
    assert gradient.shape[1] == pipeline.extra_channels
    assert (gradient.abs().sum((0, 2, 3)) > 0).all()


@pytest.mark.parametrize("name", NEW)
def test_what_a_recipe_trains_survives_its_file(tmp_path, name):
    recipe = replace(NEW[name], rank=2)
    trained = mini.tiny(recipe)
    mini.save_base(mini.tiny(), tmp_path / "base.safetensors", {})
    adapters.add_adapters(trained, recipe)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in adapters.trained(trained).values():
            value += 0.05 * torch.randn(value.shape, generator=draw)
    adapters.save_adapter(adapters.trained(trained), recipe, tmp_path / "a.safetensors", {})
    again = mini.load_base(tmp_path / "base.safetensors", recipe)
    before = render(again, *scene())
    adapters.load_adapter(again, tmp_path / "a.safetensors")
    found, expected = render(again, *scene()), render(trained, *scene())
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
    assert (found - before).abs().max() > 0.1
    assert not any(parameter.requires_grad for parameter in again.unet.parameters())


def test_a_wholly_tuned_network_is_saved_whole():
    recipe = NEW["mini_whole"]
    pipeline = mini.tiny(recipe)
    adapters.add_adapters(pipeline, recipe)
    ours = {n for n in adapters.trained(pipeline) if n.startswith("unet.")}
    assert ours == {f"unet.{name}" for name in mini.tiny().unet.state_dict()}


def test_an_adapter_without_its_channels_is_refused(tmp_path):
    recipe = replace(NEW["mini_channels"], rank=2)
    pipeline = mini.tiny(recipe)
    adapters.add_adapters(pipeline, recipe)
    values = adapters.trained(pipeline)
    values.pop("unet.conv_in.weight")
    adapters.save_adapter(values, recipe, tmp_path / "a.safetensors", {})
    with pytest.raises(InputError, match=r"unet\.conv_in\.weight"):
        adapters.load_adapter(mini.tiny(recipe), tmp_path / "a.safetensors")


def test_a_recipe_is_not_trained_on_a_pipeline_made_for_another():
    with pytest.raises(ValueError, match="optics_channels=False; accepted for the recipe: True"):
        adapters.add_adapters(mini.tiny(), NEW["mini_channels"])


def test_a_recipe_written_before_there_were_switches_is_the_papers():
    values = {"pisa": {"coc": False}, "weights": {}, "rank": 4}
    assert recipe_from(values) == Recipe(pisa=Pisa(coc=False), rank=4)


# --- Attention ---------------------------------------------------------------------------------


def test_divided_by_its_coverage_a_constant_image_stays_constant_where_light_comes():
    disparity, grid = scene(24, 32)[1], (6, 8)
    lens = Lens(0.3, 12.0)
    seen = visibility(disparity, lens, grid).dense()
    seen[:, 5] = 0  # nothing reaches this token
    here = TokenOptics(grid, token_radius(disparity, lens, grid), seen, 1e6)
    q, k = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    attn = SimpleNamespace(
        heads=2, to_q=q, to_k=k, to_v=torch.ones_like, to_out=[torch.nn.Identity()] * 2
    )
    tokens = torch.randn(1, 48, 4)
    with torch.no_grad():
        found = PisaProcessor(divide_by_coverage=True)(attn, tokens, optics={48: here})
        heads = (layer(tokens).unflatten(-1, (2, 2)).transpose(1, 2) for layer in (q, k))
        share = coverage(*heads, here.radius, grid, visibility=here.visibility)
    share = share.transpose(1, 2).repeat_interleave(2, -1)
    assert share.min() < 0.9
    torch.testing.assert_close(found, share / share.clamp(min=1e-3))


@pytest.mark.parametrize(
    "change", [{"visibility": "thin_lens"}, {"divide_by_coverage": True}], ids=str
)
def test_each_new_switch_of_pisa_changes_the_picture(change):
    picture = scene()
    switched = mini.tiny(Recipe(pisa=Pisa(**change)))
    assert not torch.equal(render(mini.tiny(), *picture), render(switched, *picture))


def test_the_fine_network_has_pisa_at_the_stride_of_its_latents(tmp_path):
    fine = mini.build((8, 8, 8), (8, 8, 16), (1, 1, 2), groups=4, fine=True)
    assert len(pisa_sites(fine.unet)) == 3
    found = fine.token_optics(torch.rand(1, 1, 32, 64), LENS, 1e6)
    assert {tokens.grid for tokens in found.values()} == {(8, 16), (4, 8), (2, 4)}
    mini.save_base(fine, tmp_path / "base.safetensors", {})
    again = mini.load_base(tmp_path / "base.safetensors")
    torch.testing.assert_close(
        render(again, *scene()), render(fine, *scene()), rtol=0.01, atol=0.01
    )


# --- Maps --------------------------------------------------------------------------------------


def test_detail_is_kept_up_to_half_a_pixel_and_gone_from_one():
    radius = torch.tensor([0.0, 0.3, 0.5, 0.75, 1.0, 9.0])
    for side in (1, -1):
        disparity = (0.5 + side * radius / 20).view(6, 1, 1, 1)
        kept = residual.in_focus_weight(disparity, Lens(0.5, 20.0)).flatten().tolist()
        assert kept == pytest.approx([1, 1, 1, 0.5, 0, 0], abs=1e-4)


def test_the_in_focus_weight_has_a_gradient_between_sharp_and_blurred():
    disparity = torch.full((1, 1, 4, 4), 0.5 + 0.7 / 20, requires_grad=True)
    residual.in_focus_weight(disparity, Lens(0.5, 20.0)).sum().backward()
    assert (disparity.grad < 0).all()


def test_detail_under_the_discs_of_a_nearer_strip_is_given_up_but_not_beside_a_farther_one():
    lens = Lens(0.5, 20.0)
    for strip, kept in ((0.9, 0.0), (0.1, 1.0)):  # 8 px of radius either way
        disparity = torch.full((1, 1, 9, 40), 0.5)
        disparity[..., :4] = strip
        row = residual.in_focus_weight(disparity, lens)[0, 0, 4]
        assert (row[:4] == 0).all()
        assert (row[4:11] == kept).all()
        assert (row[11:] == 1).all()


def test_depth_inside_discs_is_what_its_definition_says():
    draw = torch.Generator().manual_seed(0)
    radius = 12 * torch.rand(1, 1, 20, 26, generator=draw) ** 8
    place = torch.stack(torch.meshgrid(torch.arange(20), torch.arange(26), indexing="ij"), -1)
    apart = torch.cdist(*[place.flatten(0, 1).double()] * 2)
    exact = (radius.flatten() - apart).amax(1).view(20, 26)
    found = residual.inside_disc_depth(radius)[0, 0]
    assert (found <= exact + 1e-5).all()
    assert (exact - found).max() < 0.082 * 12
    assert (exact - found).mean() < 0.3


def test_the_optics_channels_are_bounded_signed_and_means_over_latents():
    disparity = torch.tensor([0.9, 0.9, 0.1, 0.5]).repeat_interleave(4).expand(1, 1, 4, 16)
    maps = residual.optics_channels(disparity, Lens(0.5, 40.0), 4)  # 16 px, 4 latents of radius
    defocus = torch.tensor([4 / 6, 4 / 6, -4 / 6, 0])
    expected = torch.stack((defocus, torch.tensor([0.9, 0.9, 0.1, 0.5])))
    torch.testing.assert_close(maps[0, :, 0], expected)
    mean = residual.optics_channels(disparity[..., 4:12], Lens(0.5, 40.0), 4)[0, :, 0].mean(1)
    torch.testing.assert_close(mean, torch.tensor([0.0, 0.5]))
    assert residual.optics_channels(disparity, Lens(0.5, 1e9), 4).abs().max() <= 1


def test_the_optics_channels_depend_on_the_blur_in_latents_alone():
    disparity = scene(8, 12)[1]
    large = disparity.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(
        residual.optics_channels(disparity, LENS, 4),
        residual.optics_channels(large, LENS.scaled(2), 8),
    )


# --- Weight files ----------------------------------------------------------------------------
