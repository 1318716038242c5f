import pytest
import torch
import torch.nn.functional as F

from bokehlib.study import LossWeights
from bokehlib.training.losses import (
    GRADIENT_KERNELS,
    BokehLoss,
    adversarial,
    discrimination,
    gradients,
    multiscale_edge,
)


@pytest.fixture
def photo():
    """Random structure at a few pixels' scale, in [-1, 1]."""
    coarse = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return 2 * F.interpolate(coarse, size=(32, 32), mode="nearest") - 1


def blurred(image, width=5):
    return F.avg_pool2d(F.pad(image, (width // 2,) * 4, mode="reflect"), width, 1)


@pytest.mark.parametrize("size", GRADIENT_KERNELS)
@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, 1.0), (0.6, 0.8)])
def test_every_gradient_answers_a_unit_ramp_with_length_one(size, direction):
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    ramp = (direction[0] * y + direction[1] * x)[None, None]
    first, second = (g.flatten()[0] for g in gradients(ramp, size))
    assert torch.hypot(first, second).item() == pytest.approx(1, abs=1e-5)


def test_edge_loss_is_zero_for_equal_images_and_positive_for_blurred_ones(photo):
    assert multiscale_edge(photo, photo, photo) == 0
    assert multiscale_edge(blurred(photo), photo, photo) > 1e-3


def test_edge_loss_does_not_count_where_target_and_input_are_smooth(photo):
    flat = torch.zeros_like(photo)
    assert multiscale_edge(photo, flat, flat) == 0
    assert multiscale_edge(photo, flat, photo) > 1e-3


def test_edge_loss_is_eq_10_written_as_a_loop():
    p, t, s = torch.rand(3, 1, 1, 4, 4, generator=torch.Generator().manual_seed(1)).unbind(0)

    def size_one(image):  # central differences in x and y, only inside
        a = image[0, 0]
        return (a[:, 2:] - a[:, :-2]) / 2, (a[2:] - a[:-2]) / 2

    terms = [
        ((gp - gt) * torch.maximum(gt.abs(), gs.abs())).abs().mean()
        for gp, gt, gs in zip(size_one(p), size_one(t), size_one(s), strict=True)
    ]
    others = 0
    for size, weight in ((2, 1 / 4), (3, 1 / 9)):
        pairs = zip(gradients(p, size), gradients(t, size), gradients(s, size), strict=True)
        others += weight * sum(
            ((gp - gt) * torch.maximum(gt.abs(), gs.abs())).abs().mean() / 2 for gp, gt, gs in pairs
        )
    torch.testing.assert_close(multiscale_edge(p, t, s), sum(terms) / 2 + others)


def test_the_two_players_minimise_what_eq_11_maximises():
    draw = torch.Generator().manual_seed(2)
    real, made = torch.randn(2, 4, 1, 3, 3, generator=draw, dtype=torch.float64).unbind(0)
    eq_11 = torch.log(torch.sigmoid(real)).mean() + torch.log(1 - torch.sigmoid(made)).mean()
    halves = discrimination(real, made)
    assert sum(halves.values()).item() == pytest.approx(-eq_11.item(), abs=1e-6)
    assert adversarial(made).item() == pytest.approx(
        -torch.log(torch.sigmoid(made)).mean().item(), abs=1e-6
    )


def test_a_discriminator_that_is_sure_of_itself_still_teaches():
    made = torch.full((1, 1, 2, 2), -200.0, dtype=torch.bfloat16, requires_grad=True)
    term = adversarial(made)
    assert term.item() == pytest.approx(200)
    term.backward()
    assert made.grad.sum().item() == pytest.approx(-1)  # a minimax loss would have no slope here


def test_the_terms_are_those_of_eq_12_and_weighted_as_asked(photo):
    def distance(a, b):
        return (a - b).abs().mean()

    guess, judge = blurred(photo), torch.nn.Conv2d(3, 1, 4)
    once = BokehLoss(LossWeights(1, 1, 1, 1), distance, judge)(guess, photo, photo)
    paper = BokehLoss(LossWeights(), distance, judge)(guess, photo, photo)
    assert list(once) == ["mse", "perceptual", "edge", "adversarial"]
    assert {k: (paper[k] / once[k]).item() for k in once} == pytest.approx(
        {"mse": 1, "perceptual": 5, "edge": 1, "adversarial": 0.5}
    )
    assert list(BokehLoss(LossWeights(1, 0, 0, 0), None, judge)(guess, photo, photo)) == ["mse"]


def test_a_term_that_cannot_be_computed_is_refused_by_name():
    with pytest.raises(ValueError, match="perceptual"):
        BokehLoss(LossWeights(adversarial=0))
    with pytest.raises(ValueError, match=r"adversarial weight 0\.5 needs a discriminator"):
        BokehLoss(LossWeights(), torch.nn.Identity())
