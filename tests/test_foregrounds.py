"""Laws of painted foregrounds: the parts of LayerDiffuse, what is kept, and what is written."""

from types import SimpleNamespace

import made_up_sdxl as made
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from bokehlib import study
from bokehlib.bokehdiff import sdxl, sdxl_files
from bokehlib.extras import foregrounds, layerdiffuse
from bokehlib.extras.foregrounds import Limits, Measured, measure, verdict
from bokehlib.io.errors import InputError
from bokehlib.synthesis import load_cutouts

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight"


@pytest.fixture(scope="module")
def painter():
    return foregrounds.tiny()


# --- The parts of LayerDiffuse -----------------------------------------------------------------


def test_the_decoder_at_its_real_size_has_the_published_names_and_shapes():
    with torch.device("meta"):
        decoder = layerdiffuse.TransparentDecoder()
    shapes = {name: tuple(value.shape) for name, value in decoder.state_dict().items()}
    published = {
        "conv_in.weight": (32, 3, 3, 3),
        "latent_conv_in.weight": (64, 4, 1, 1),
        "down_blocks.0.resnets.1.conv2.weight": (32, 32, 3, 3),
        "down_blocks.2.resnets.0.conv_shortcut.weight": (64, 32, 1, 1),
        "down_blocks.3.downsamplers.0.conv.weight": (128, 128, 3, 3),
        "down_blocks.4.attentions.0.to_q.weight": (256, 256),
        "down_blocks.6.attentions.1.to_out.0.bias": (512,),
        "mid_block.attentions.0.group_norm.weight": (512,),
        "mid_block.resnets.1.conv1.weight": (512, 512, 3, 3),
        "up_blocks.0.resnets.0.conv1.weight": (512, 1024, 3, 3),
        "up_blocks.2.resnets.0.conv1.weight": (256, 768, 3, 3),
        "up_blocks.2.resnets.2.conv1.weight": (256, 384, 3, 3),
        "up_blocks.2.attentions.2.to_v.weight": (256, 256),
        "up_blocks.3.resnets.0.conv1.weight": (128, 384, 3, 3),
        "up_blocks.5.upsamplers.0.conv.bias": (32,),
        "up_blocks.6.resnets.2.conv1.weight": (32, 64, 3, 3),
        "conv_norm_out.weight": (32,),
        "conv_out.weight": (4, 32, 3, 3),
    }
    assert {name: shapes.get(name) for name in published} == published
    levels = {"down_blocks": 2, "up_blocks": 3}
    for part, layers in levels.items():
        for level in range(7):
            of = {n.split(".")[3] for n in shapes if n.startswith(f"{part}.{level}.resnets.")}
            assert len(of) == layers, (part, level)
            attended = level >= 4 if part == "down_blocks" else level < 3
            assert (f"{part}.{level}.attentions.0.to_k.weight" in shapes) == attended
    assert not [name for name in shapes if "time_emb" in name]
    assert "down_blocks.6.downsamplers.0.conv.weight" not in shapes
    assert "up_blocks.6.upsamplers.0.conv.weight" not in shapes


def test_the_offsets_have_their_places_in_sdxls_u_net_at_its_real_size():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**sdxl.UNET)
        names = [n for n in dict(unet.named_parameters()) if ".attn" in n]
        offsets = {name: torch.zeros(unet.get_parameter(name).shape) for name in names}
    assert unet.get_parameter(ATTENTION).shape == (640, 640)
    assert layerdiffuse.add_offsets(unet, offsets).used == tuple(sorted(names))


def test_offsets_are_added_and_what_does_not_belong_is_named():
    unet = sdxl.tiny().unet
    before = unet.get_parameter(ATTENTION).clone()
    offset = torch.ones_like(before)
    report = layerdiffuse.add_offsets(unet, {ATTENTION: offset, "strange": offset})
    torch.testing.assert_close(unet.get_parameter(ATTENTION), before + 1)
    assert (report.used, report.left_over) == ((ATTENTION,), ("strange",))
    with pytest.raises(InputError, match="found strange; accepted: names of SDXL's U-Net"):
        layerdiffuse.add_offsets(unet, {"strange": offset})
    with pytest.raises(InputError, match=r"to_q.weight is \(1,\); accepted: \(16, 16\)"):
        layerdiffuse.add_offsets(unet, {ATTENTION: torch.ones(1)})


def test_a_picture_that_is_turned_or_mirrored_is_decoded_turned_or_mirrored(painter):
    enlarged = SimpleNamespace(
        dtype=torch.float32,
        config=SimpleNamespace(scaling_factor=0.5),
        decode=lambda x: SimpleNamespace(
            sample=torch.nn.functional.interpolate(x[:, :3], scale_factor=8)
        ),
    )
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    found = layerdiffuse.decode(painter.decoder, enlarged, latent)
    assert found.shape == (1, 4, 64, 64)
    assert 0 <= found.min() < found.max() <= 1
    for change in (lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.rot90(1, (2, 3))):
        changed = layerdiffuse.decode(painter.decoder, enlarged, change(latent))
        torch.testing.assert_close(changed, change(found), rtol=1e-4, atol=1e-5)


def test_alpha_comes_last_and_the_latent_takes_part(painter):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = layerdiffuse.TransparentDecoder((4, 4, 8, 8, 8, 8, 8), head=4).eval()
    picture, latent = torch.rand(1, 3, 64, 64), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        assert not torch.equal(decoder(picture, latent), decoder(picture, -latent))
        decoder.conv_out.weight.zero_()
        decoder.conv_out.bias.copy_(torch.tensor([0.9, 0.1, 0.2, 0.3]))
    found = layerdiffuse.decode(decoder, painter.vae, latent)
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.tensor([0.1, 0.2, 0.3, 0.9]))


def test_a_latent_follows_from_its_seed_and_both_prompts(painter):
    unet, draw = painter.unet, torch.Generator().manual_seed(0)
    one, two = ((torch.randn(1, 77, 16, generator=draw), torch.zeros(1, 8)) for _ in range(2))
    first = layerdiffuse.paint(unet, one, two, (64, 64), seed=0, steps=3)
    assert first.shape == (1, 4, 8, 8)
    assert first.isfinite().all()
    assert torch.equal(first, layerdiffuse.paint(unet, one, two, (64, 64), seed=0, steps=3))
    for other in (
        layerdiffuse.paint(unet, one, two, (64, 64), seed=1, steps=3),
        layerdiffuse.paint(unet, two, one, (64, 64), seed=0, steps=3),
    ):
        assert not torch.allclose(first, other)


# --- What is kept ------------------------------------------------------------------------------


def disc(radius, soft=2.0, centre=32.0):
    y, x = np.mgrid[:64, :64]
    return np.clip((radius - np.hypot(y - centre, x - 32)) / soft + 0.5, 0, 1)


def test_a_whole_soft_disc_is_kept_and_its_shares_are_right():
    found = measure(disc(20))
    assert found.area == pytest.approx(np.pi * 20**2 / 64**2, rel=0.01)
    assert found.border == 0
    assert 0.05 < found.softness < 0.25
    assert verdict(found) == ""


@pytest.mark.parametrize(
    ("alpha", "reason"),
    [
        (disc(3), "covers 0.7% of the picture"),
        (disc(60), "covers 100.0% of the picture"),
        (np.zeros((64, 64)), "covers 0.0% of the picture"),
        (disc(20, centre=0.0), "is cut off along 16.3% of the border"),
        (disc(20.3, soft=1e-6), "is half-transparent in 0.0% of its area"),
        (disc(20) / 2, "is half-transparent in 100.0% of its area"),
    ],
)
def test_what_cannot_be_a_foreground_is_left_out_with_the_reason(alpha, reason):
    assert verdict(measure(alpha)) == reason
    assert verdict(measure(alpha), foregrounds.ALL) == ""


def test_limits_include_their_ends():
    limits = Limits((0.1, 0.2), 0.05, (0.1, 0.2))
    for value in (0.1, 0.2):
        assert verdict(Measured(value, 0.05, value), limits) == ""


# --- The folder --------------------------------------------------------------------------------


def test_the_folder_is_what_synthesis_reads_and_a_run_goes_on(painter, tmp_path):
    kept, asked = np.dstack([np.full((64, 64, 3), 0.5), disc(20)]), []

    def paint(prompt, seed, steps):
        asked.append((prompt, seed, steps))
        return np.zeros((64, 64, 4)) if prompt == "air" else kept

    rows = foregrounds.write(paint, ["a cat, photo", "air"], tmp_path / "f", each=2, steps=3)
    names = [row["file"] for row in rows if not row["left_out"]]
    assert names == ["000-a-cat-photo-s0.png", "000-a-cat-photo-s1.png"]
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == names
    assert [row["left_out"] for row in rows[2:]] == ["covers 0.0% of the picture"] * 2
    bank = load_cutouts(tmp_path / "f")
    assert len(bank.rgba) == 2
    assert asked == [("a cat, photo", 0, 3), ("a cat, photo", 1, 3), ("air", 0, 3), ("air", 1, 3)]
    again = foregrounds.write(paint, ["a cat, photo"], tmp_path / "f", each=2, steps=3)
    assert len(asked) == 4  # nothing was painted again
    assert [row["area"] for row in again] == pytest.approx([r["area"] for r in rows[:2]], abs=1e-3)
    assert len(foregrounds.contact_sheet(tmp_path / "f").axes) == 2


def test_prompts_are_many_and_different():
    assert len(set(study.FOREGROUND_PROMPTS)) == len(study.FOREGROUND_PROMPTS) >= 20


# --- Weights -----------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A base and LayerDiffuse's files, all tiny."""
    kind = layerdiffuse.TransparentDecoder
    monkeypatch.setattr(
        layerdiffuse, "TransparentDecoder", lambda: kind((4, 4, 8, 8, 8, 8, 8), head=4)
    )
    base = made.write_base(tmp_path / "base")
    folder = tmp_path / "layerdiffuse"
    folder.mkdir()
    save_file({ATTENTION: torch.ones(16, 16)}, folder / sdxl_files.LAYERS[0])
    save_file(layerdiffuse.TransparentDecoder().state_dict(), folder / sdxl_files.LAYERS[1])
    return base, folder


def test_weights_are_found_and_the_offsets_reported(weights):
    base, folder = weights
    painter = foregrounds.load(str(base), str(folder))
    assert painter.report.used == (ATTENTION,)
    assert foregrounds.lacks(str(base), str(folder)) == ""
    plain = foregrounds.loading.load_base(base, foregrounds.PLAIN)
    difference = painter.unet.get_parameter(ATTENTION) - plain.unet.get_parameter(ATTENTION)
    torch.testing.assert_close(difference, torch.ones(16, 16))


def test_what_is_missing_or_does_not_fit_is_one_line(weights, tmp_path):
    base, folder = weights
    save_file({"conv_in.weight": torch.ones(1)}, folder / sdxl_files.LAYERS[1])
    with pytest.raises(InputError, match=r"tensors do not fit, first .*; accepted: the published"):
        foregrounds.load(str(base), str(folder))
    (folder / sdxl_files.LAYERS[0]).unlink()
    line = foregrounds.lacks(str(base), str(folder))
    assert line.startswith(f"LayerDiffuse: found no {sdxl_files.LAYERS[0]} in {folder}; accepted: ")
    assert foregrounds.lacks(str(tmp_path / "none")).startswith("SDXL base: found no folder")
