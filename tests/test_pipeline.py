import dataclasses
import json
from itertools import pairwise

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from networks import two_levels
from PIL import Image

from bokehlib import data, optics
from bokehlib.bokehdiff import adapters, mini, tiling
from bokehlib.bokehdiff.pipeline import BokehPipeline
from bokehlib.bokehdiff.tiling import reflect
from bokehlib.io import images
from bokehlib.io.weightfiles import need_weights
from bokehlib.optics import Lens
from bokehlib.pisa.processor import install, pisa_sites
from bokehlib.study import METHODS, Pisa, Recipe

SELF_ATTENTIONS_DOWN = 2  # of the mini U-Net: at 8 and 16 px a token


def scene(height=24, width=40, seed=0):
    draw = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, height, width, generator=draw)
    disparity = torch.rand(1, 1, height, width, generator=draw)
    return image, disparity


def render(pipeline, image, disparity, lens=None):
    return pipeline(image, disparity, lens or Lens(0.3, 30.0), output_type="pt").images


@pytest.fixture(scope="module")
def tiny_sdxl():
    """SDXL's shape, two levels: added text and time conditions, list of transformer layers."""
    torch.manual_seed(0)
    unet = two_levels(
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6 + 32,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        latent_channels=4,
        norm_num_groups=4,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    return BokehPipeline(vae, unet, scheduler)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (16, 16), (33, 65), (641, 427)])
def test_any_size_comes_back_as_it_went_in(size):
    image, disparity = scene(*size)
    out = render(mini.tiny(), image, disparity)
    assert out.shape == image.shape
    assert torch.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_extreme_disparities_are_finite(value):
    image, disparity = scene()
    assert torch.isfinite(render(mini.tiny(), image, torch.full_like(disparity, value))).all()


def test_two_runs_are_byte_identical_and_draw_no_random_number():
    image, disparity = scene()
    pipeline = mini.tiny()
    before = torch.get_rng_state()
    first, second = render(pipeline, image, disparity), render(pipeline, image, disparity)
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


def test_eq_1_is_what_the_scheduler_computes():
    pipeline = mini.tiny()
    latent = torch.randn(1, 8, 8, 12, generator=torch.Generator().manual_seed(0))
    tokens = pipeline.token_optics(scene(32, 48)[1], Lens(0.3, 30.0), 1e6)
    noise = pipeline.unet(
        latent, 499, cross_attention_kwargs={"optics": tokens}, **pipeline.context(latent)
    ).sample
    share = 0.277670  # alpha-bar at 499 for SDXL's scaled-linear schedule
    expected = (latent - (1 - share) ** 0.5 * noise) / share**0.5
    torch.testing.assert_close(pipeline.denoise(latent, tokens), expected, rtol=1e-4, atol=1e-4)


def test_disparity_and_lens_reach_the_network_through_pisa_alone():
    image, disparity = scene()
    other = disparity.flip(-1)
    with_pisa, without = mini.tiny(), mini.tiny(Recipe(pisa=Pisa(sites=())))
    assert not torch.equal(render(with_pisa, image, disparity), render(with_pisa, image, other))
    lens = Lens(0.3, 2.0)  # small enough that the halo, and so the padding, stays the same
    assert torch.equal(render(without, image, disparity, lens), render(without, image, other, lens))


@pytest.mark.parametrize(
    "change", [{"normalise": "keys"}, {"coc": False}, {"occlusion": False}, {"sites": ()}]
)
def test_each_switch_of_pisa_changes_the_picture(change):
    image, disparity = scene()
    switched = mini.tiny(Recipe(pisa=dataclasses.replace(Pisa(), **change)))
    assert not torch.equal(
        render(mini.tiny(), image, disparity), render(switched, image, disparity)
    )


def test_pisa_stands_in_the_down_blocks_and_any_subset_can_be_chosen():
    pipeline = mini.tiny()
    assert len(pisa_sites(pipeline.unet)) == SELF_ATTENTIONS_DOWN
    assert all("down_blocks" in name for name in pisa_sites(pipeline.unet))
    install(pipeline.unet, ("down_blocks.2", "mid_block"))
    assert [name.split(".attentions")[0] for name in pisa_sites(pipeline.unet)] == [
        "down_blocks.2",
        "mid_block",
    ]
    with pytest.raises(ValueError, match=r"down_blocks\.9.*matches no self-attention"):
        install(pipeline.unet, ("down_blocks.9",))


def test_token_grids_follow_the_places_of_pisa():
    pipeline = mini.tiny()
    install(pipeline.unet, ("down_blocks.1", "up_blocks.0"))
    found = pipeline.token_optics(torch.rand(1, 1, 32, 64), Lens(0.3, 30.0), 1e6)
    assert {tokens.grid for tokens in found.values()} == {(4, 8), (2, 4)}


def test_light_from_outside_is_there_a_reflected_border_changes_nothing():
    """A constant scene has a halo of the same light, so its border looks like its middle."""
    pipeline = mini.tiny()
    grey = torch.full((1, 3, 48, 48), 0.5)
    halo = reflect(grey, 16, 16)
    assert halo.shape == (1, 3, 80, 80)
    assert (halo == 0.5).all()
    out = pipeline.transform(grey, torch.full((1, 1, 48, 48), 0.8), Lens(0.3, 30.0))
    assert out.shape == grey.shape


def test_an_sdxl_shaped_network_goes_through_the_same_class(tiny_sdxl):
    image, disparity = scene(30, 44)
    assert render(tiny_sdxl, image, disparity).shape == image.shape
    assert len(pisa_sites(tiny_sdxl.unet)) == 4  # 2 attentions x 2 transformer layers


def test_a_saved_pipeline_loads_with_its_pisa(tmp_path):
    recipe = Recipe(timestep=249, pisa=Pisa(sites=("down_blocks.1",), coc=False))
    pipeline = mini.tiny(recipe)
    image, disparity = scene()
    pipeline.save_pretrained(tmp_path)
    again = BokehPipeline.from_pretrained(tmp_path)
    assert again.config.timestep == 249
    assert pisa_sites(again.unet) == pisa_sites(pipeline.unet)
    assert torch.equal(render(again, image, disparity), render(pipeline, image, disparity))


def test_a_pipeline_saved_without_a_visibility_model_loads_with_the_papers(tmp_path):
    mini.tiny().save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    saved = json.loads(index.read_text())
    assert saved.pop("visibility_model") == "paper"
    index.write_text(json.dumps(saved))
    again = BokehPipeline.from_pretrained(tmp_path)
    assert again.config.visibility_model == "paper"
    image, disparity = scene()
    assert torch.equal(render(again, image, disparity), render(mini.tiny(), image, disparity))


def test_the_visibility_model_is_saved_and_changes_the_picture(tmp_path):
    pipeline = mini.tiny()
    image, disparity = scene()
    papers = render(pipeline, image, disparity)
    pipeline.register_to_config(visibility_model="thin_lens")
    lens = render(pipeline, image, disparity)
    assert not torch.equal(papers, lens)
    pipeline.save_pretrained(tmp_path)
    assert torch.equal(render(BokehPipeline.from_pretrained(tmp_path), image, disparity), lens)
    pipeline.register_to_config(visibility_model="pinhole")
    with pytest.raises(ValueError, match=r"'pinhole'; known: paper, thin_lens"):
        render(pipeline, image, disparity)


def test_pil_images_are_accepted_and_returned():
    photo = Image.new("RGB", (20, 12), (200, 100, 50))
    out = mini.tiny()(photo, torch.rand(12, 20), Lens(0.2, 10.0)).images
    assert out[0].size == photo.size


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"disparity": torch.rand(1, 1, 24, 41)}, "does not fit"),
        ({"disparity": torch.full((1, 1, 24, 40), torch.nan)}, "disparity has NaN"),
        ({"lens": Lens(0.3, -1.0)}, "aperture -1.0"),
        ({"lens": Lens(float("inf"), 1.0)}, "focus has NaN"),
    ],
)
def test_what_does_not_fit_is_named(change, named):
    image, disparity = scene()
    given = {"disparity": disparity, "lens": Lens(0.3, 30.0)} | change
    with pytest.raises(ValueError, match=named):
        mini.tiny()(image, given["disparity"], given["lens"])


def test_a_larger_working_size_with_its_aperture_gives_the_same_token_optics():
    pipeline = mini.tiny()
    disparity = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    small = torch.nn.functional.interpolate(disparity, scale_factor=16)
    large = torch.nn.functional.interpolate(disparity, scale_factor=32)
    lens = Lens(0.4, 20.0)
    radius = optics.token_radius(small, lens, (8, 8))
    again = optics.token_radius(large, lens.scaled(2), (8, 8))
    torch.testing.assert_close(radius, again)
    assert pipeline.size_multiple == 16


def test_adapters_train_only_what_the_recipe_names():
    pipeline = mini.tiny()
    adapters.add_adapters(pipeline, Recipe())
    names = list(adapters.trained(pipeline))
    assert names
    assert all("lora" in n for n in names)
    assert {n.split(".")[1] for n in names} == {"down_blocks", "encoder"}
    assert not any("decoder" in n or "up_blocks" in n for n in names)
    fixed = mini.tiny()
    adapters.add_adapters(fixed, Recipe(encoder="fixed"))
    assert {n.split(".")[0] for n in adapters.trained(fixed)} == {"unet"}


def test_an_adapter_survives_its_file_and_is_merged(tmp_path):
    recipe = Recipe(rank=2, encoder="full", lora_blocks=("down_blocks", "conv_in"))
    base, trained = mini.tiny(), mini.tiny()
    adapters.add_adapters(trained, recipe)
    draw = torch.Generator().manual_seed(0)
    values = {
        name: torch.randn(p.shape, generator=draw).half().float() * 0.1
        for name, p in adapters.trained(trained).items()
    }
    with torch.no_grad():
        for name, p in adapters.trained(trained).items():
            p.copy_(values[name])
    adapters.save_adapter(values, recipe, tmp_path / "a.safetensors", {"steps": 1})
    assert adapters.recipe_of(tmp_path / "a.safetensors") == recipe
    adapters.load_adapter(base, tmp_path / "a.safetensors")
    image, disparity = scene()
    one, two = render(base, image, disparity), render(trained, image, disparity)
    torch.testing.assert_close(one, two, rtol=0, atol=0.01)
    assert (one - render(mini.tiny(), image, disparity)).abs().max() > 0.1
    assert not any("lora" in name for name, _ in base.unet.named_parameters())


def test_a_base_survives_its_file(tmp_path):
    pipeline = mini.tiny()
    pipeline.vae.register_to_config(scaling_factor=0.7)
    mini.save_base(pipeline, tmp_path / "base.safetensors", {"steps": 0})
    again = mini.load_base(tmp_path / "base.safetensors")
    assert again.vae.config.scaling_factor == 0.7
    image, disparity = scene()
    torch.testing.assert_close(
        render(again, image, disparity), render(pipeline, image, disparity), rtol=0.01, atol=0.01
    )


# --- Tiles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (24, 40), (65, 50)])
def test_an_image_that_fits_into_one_tile_is_the_same_bit_for_bit(size):
    image, disparity = scene(*size)
    lens = Lens(0.3, 20.0)
    tiled = mini.tiny()(image, disparity, lens, output_type="pt", tile=112).images
    assert torch.equal(tiled, render(mini.tiny(), image, disparity, lens))


@pytest.mark.parametrize("size", [(1, 131), (97, 131), (150, 33)])
def test_tiles_take_any_size_and_have_one_shape(size, monkeypatch):
    image, disparity = scene(*size)
    pipeline, shapes = mini.tiny(), set()
    denoise = pipeline.denoise

    def noted(latent, tokens):
        shapes.add(tuple(latent.shape[-2:]))
        return denoise(latent, tokens)

    monkeypatch.setattr(pipeline, "denoise", noted)
    out = pipeline(image, disparity, Lens(0.3, 16.0), output_type="pt", tile=112).images
    assert out.shape == image.shape
    assert torch.isfinite(out).all()
    assert len(shapes) == 1
    assert max(shapes.pop()) == 112 // 4


@pytest.mark.parametrize(
    ("tile", "named"),
    [
        (100, "tile of 100 px; accepted: multiples of 16 px"),
        (96, "tile of 96 px for a halo of 16 px .* ramp of 64 px; accepted: from 112 px"),
    ],
)
def test_a_tile_that_does_not_fit_the_halo_is_refused(tile, named):
    image, disparity = scene(150, 150)
    with pytest.raises(ValueError, match=named):
        mini.tiny()(image, disparity, Lens(0.0, 16.0), tile=tile)


@torch.inference_mode()
def test_the_embedded_model_renders_a_photograph_in_tiles_without_seams():
    """Group norms average over a tile instead of the image, so the two differ a little."""
    base, adapter, _ = (need_weights(file) for file in METHODS["bokehdiff-mini"].weights)
    pipeline = mini.load_base(base, adapters.recipe_of(adapter))
    adapters.load_adapter(pipeline, adapter)
    photo = images.read_image(data.photo_paths()["photos/ColorfulCups.webp"])[-192:, 200:600]
    photo = torch.from_numpy(photo).permute(2, 0, 1)[None]  # (1, 3, 192, 400)
    disparity = torch.linspace(0.2, 0.6, 192).view(-1, 1).repeat(1, 1, 1, 400)
    disparity[..., 40:140, 150:260] = 0.9
    lens = Lens(0.9, 20.0)
    whole = render(pipeline, photo, disparity, lens)
    tiled = pipeline(photo, disparity, lens, output_type="pt", tile=224).images
    assert 40 < -10 * (tiled - whole).square().mean().log10() < 60  # PSNR, about 48
    spans = tiling._spans(400, 224, 16, 16, 64)
    borders = [(one.target.stop + two.target.start) // 2 for one, two in pairwise(spans)]
    assert len(borders) == 2
    for x in borders:
        step, own = ((p[..., x] - p[..., x - 1]).abs().mean() for p in (tiled, whole))
        assert step < 1.1 * own  # between hard cuts it is 1.6 and 2.3 times as large
