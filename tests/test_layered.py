"""The layered render: occlusion by layers, cut where outlines are and filled from around."""

import pytest
import torch

from bokehlib.classical import layers, scattering
from bokehlib.optics import Lens

SIZE = (40, 56)
BEHIND, BEFORE = 0.2, 0.8  # disparities of background and square
SQUARE = (slice(12, 30), slice(16, 40))
INSIDE = (slice(14, 28), slice(18, 38))  # 2 px within it


def square(behind=BEHIND, before=BEFORE):
    """A map (1, 1, H, W) of a square before a wall."""
    disparity = torch.full((1, 1, *SIZE), behind)
    disparity[0, 0][SQUARE] = before
    return disparity


def tilted(low, high):
    return torch.linspace(low, high, SIZE[1]).expand(1, 1, *SIZE).clone()


def noise(batch=1):
    return 0.99 * torch.rand(batch, 3, *SIZE)  # nothing is clipped


# --- The picture -------------------------------------------------------------------------------


def test_a_closed_lens_changes_no_bit():
    image, disparity = noise(2), square().expand(2, -1, -1, -1)
    lens = Lens(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 8.0]))
    found = layers.render(image, disparity, lens)
    assert torch.equal(found[0], image[0])
    assert not torch.equal(found[1], image[1])


def test_a_constant_picture_stays_constant():
    for disparity in (square(), tilted(0, 1), torch.rand(1, 1, *SIZE)):
        found = layers.render(torch.full((1, 3, *SIZE), 0.37), disparity, Lens(0.5, 9.0))
        assert (found - 0.37).abs().max() < 1e-5


def test_one_surface_is_scattered_as_ever():
    image, lens = noise(), Lens(0.4, 9.0)
    found = layers.render(image, tilted(0.1, 0.9), lens)
    scattered = scattering.scatter(image, tilted(0.1, 0.9), lens)
    torch.testing.assert_close(found, scattered, rtol=0, atol=1e-5)


def test_nothing_leaks_into_a_sharp_square_from_behind():
    image = noise()
    lens = Lens(focus=BEFORE, aperture=10.0)
    found = layers.render(image, square(), lens)
    leaked = scattering.scatter(image, square(), lens)

    def off(picture):
        return (picture - image)[0][:, *INSIDE].abs().mean()

    assert off(found) < 0.003 < 0.01 < off(leaked)


def test_behind_a_blurred_square_the_wall_goes_on():
    """Square and wall of one colour each: light is mixed by the square's coverage alone."""
    near, far = 0.8, 0.3
    image = torch.full((1, 3, *SIZE), far)
    image[0][:, *SQUARE] = near
    lens = Lens(focus=BEHIND, aperture=10.0)
    found = layers.render(image, square(), lens)
    mask = (square() == BEFORE).double()
    radius = torch.full_like(mask, 10.0 * (BEFORE - BEHIND))
    cover = scattering.spread(mask.expand(-1, 3, -1, -1), radius)
    mixed = (cover * near**2.2 + (1 - cover) * far**2.2) ** (1 / 2.2)
    torch.testing.assert_close(found.double(), mixed, rtol=0, atol=1e-4)
    assert 0.1 < cover[0, 0, 12, 20] < 0.9


def test_a_batch_is_its_pictures():
    image, disparity = noise(3), torch.cat((square(), tilted(0, 1), square(0.5, 0.1)))
    lens = Lens(torch.tensor([0.2, 0.5, 0.4]), torch.tensor([9.0, 7.0, 12.0]))
    found = layers.render(image, disparity, lens)
    for n in range(3):
        alone = Lens(lens.focus[n].item(), lens.aperture[n].item())
        one = layers.render(image[n : n + 1], disparity[n : n + 1], alone)
        torch.testing.assert_close(found[n : n + 1], one, rtol=0, atol=1e-6)


# --- Cuts --------------------------------------------------------------------------------------


def test_a_cut_stands_between_square_and_wall():
    found = layers.cuts(20 * (square() - 0.5))
    assert found.shape == (1, layers.LAYERS - 1)
    assert 20 * (BEHIND - 0.5) < found[0, 0] < 20 * (BEFORE - 0.5)
    assert found[0, 1] == torch.inf


@pytest.mark.parametrize("signed", [tilted(-9, 9), torch.zeros(1, 1, *SIZE)])
def test_a_surface_is_not_cut(signed):
    assert (layers.cuts(signed) == torch.inf).all()


def test_a_tilted_wall_is_not_torn_where_the_cut_can_go_elsewhere():
    signed = tilted(-6, 3)
    signed[0, 0][SQUARE] = 5.0
    cut = layers.cuts(signed)[0, 0]
    assert 2.8 < cut < 5.0


def test_three_depths_make_three_layers():
    signed = torch.full((1, 1, *SIZE), -6.0)
    signed[0, 0][SQUARE] = 0.0
    signed[0, 0][16:26, 30:50] = 7.0
    first, second = layers.cuts(signed)[0]
    assert -6 < first < 0 < second < 7


# --- Filling -----------------------------------------------------------------------------------


def test_what_is_known_stays_and_the_rest_comes_from_around():
    values, known = torch.rand(1, 3, 13, 29), torch.rand(1, 1, 13, 29) > 0.7
    found = layers.fill(values, known)
    assert torch.equal(found[known.expand_as(values)], values[known.expand_as(values)])
    shown = torch.where(known, values, torch.nan)
    for channel in range(3):
        inside = shown[0, channel][known[0, 0]]
        assert inside.min() - 1e-6 <= found[0, channel].min()
        assert found[0, channel].max() <= inside.max() + 1e-6


def test_a_hole_takes_the_nearer_side():
    values = torch.zeros(1, 1, 16, 64)
    values[..., 32:] = 1.0
    known = torch.ones_like(values, dtype=torch.bool)
    known[..., 20:44] = False
    found = layers.fill(values, known)[0, 0, 8]
    assert found[21] < 0.2 < 0.8 < found[42]


def test_where_nothing_is_known_there_is_nothing():
    found = layers.fill(torch.rand(1, 2, 7, 5), torch.zeros(1, 1, 7, 5, dtype=torch.bool))
    assert torch.equal(found, torch.zeros_like(found))
