"""How bright clipped lights are found to be, on discs that are brighter than a photo shows."""

import pytest
import torch

from bokehlib.classical import highlights, layers
from bokehlib.optics import Lens

SIZE = (48, 64)
GAMMA = 2.2


def disc(level, centre=(24.3, 30.6), radius=2.0, behind=0.05):
    """Linear light (1, 3, H, W), unclipped, of a disc whose edge covers pixels by their share."""
    fine = 8
    y, x = torch.meshgrid(*((torch.arange(n * fine) + 0.5) / fine for n in SIZE), indexing="ij")
    inside = (torch.hypot(y - centre[0], x - centre[1]) < radius).float()
    cover = torch.nn.functional.avg_pool2d(inside[None, None], fine)
    return (behind + cover * (level - behind)).expand(-1, 3, -1, -1).clone()


def found(light):
    """The largest gain of each channel of what a photo shows of the light."""
    return highlights.gains(light.clamp(0, 1)).amax((0, 2, 3))


@pytest.mark.parametrize("level", [2.0, 4.0, 8.0])
def test_the_level_of_a_disc_is_found_from_its_rim(level):
    centres = [(24 + 0.13 * k, 30 + 0.29 * k) for k in range(10)]
    levels = torch.stack([found(disc(level, centre))[0] for centre in centres])
    assert levels.mean().item() == pytest.approx(level, rel=0.25)


def test_every_channel_has_its_own_level():
    light = disc(6.0)
    light[:, 1], light[:, 2] = disc(3.0)[:, 1], disc(0.8)[:, 2]
    red, green, blue = found(light)
    assert red > 1.4 * green > 1.4
    assert blue == 1


def test_one_light_has_one_gain_and_nothing_else_has():
    light = disc(5.0)
    gain = highlights.gains(light.clamp(0, 1))
    clipped = light >= 1
    assert torch.equal(gain > 1, clipped)
    assert gain[clipped].unique().numel() == 1


def test_a_soft_white_patch_is_as_bright_as_it_looks():
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in SIZE), indexing="ij")
    soft = 1.3 * torch.exp(-((y - 24) ** 2 + (x - 30) ** 2) / 18)
    assert torch.equal(found(soft.expand(1, 3, -1, -1)), torch.ones(3))


def test_large_and_pale_patches_are_left_alone():
    wall = disc(5.0, radius=12.0)
    shirt = disc(1.2, behind=0.9)
    ragged = torch.full((1, 3, *SIZE), 0.05)
    ragged[..., 10:12, 5:60] = 1.0  # small, but too long for one light
    for light in (wall, ragged, torch.ones(1, 3, *SIZE)):
        assert (highlights.gains(light.clamp(0, 1)) == 1).all()
    assert (found(shirt) < 1.1).all()


def test_pictures_of_a_batch_do_not_see_each_other():
    pictures = torch.cat([disc(level, radius=1.5) for level in (2.0, 7.0, 0.5)]).clamp(0, 1)
    alone = torch.cat([highlights.gains(picture[None]) for picture in pictures])
    torch.testing.assert_close(highlights.gains(pictures), alone)


def test_the_layered_render_spreads_more_light_than_the_photo_shows():
    """A disc of level L and radius s becomes one of level near L s^2 / r^2 where it is blurred."""
    level, radius, blur = 6.0, 2.0, 8.0
    light = disc(level, radius=radius, behind=0.02)
    photo = light.clamp(0, 1) ** (1 / GAMMA)
    flat = torch.full((1, 1, *SIZE), 0.2)
    render = layers.render(photo, flat, Lens(0.6, blur / 0.4))
    truth = layers.scattering.spread(light, torch.full((1, 1, *SIZE), blur)).float()
    middle = (..., slice(20, 29), slice(26, 35))
    excess = (render**GAMMA)[middle].mean() - 0.02
    assert excess.item() == pytest.approx(truth[middle].mean().item() - 0.02, rel=0.3)
    sharp = layers.render(photo, flat, Lens(0.2, blur))
    assert (sharp - photo).abs().max() < 0.01  # in focus it stays as the photo shows it
