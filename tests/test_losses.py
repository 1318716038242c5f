import pytest
import torch
import torch.nn.functional as F

from bokehlib.losses import GRADIENT_KERNELS, BokehLoss, gradients, multiscale_edge
from bokehlib.study import LossWeights


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


def test_the_terms_are_those_of_eq_12_and_weighted_as_asked(photo):
    def distance(a, b):
        return (a - b).abs().mean()

    guess = blurred(photo)
    once = BokehLoss(LossWeights(1, 1, 1, 0), distance)(guess, photo, photo)
    paper = BokehLoss(LossWeights(adversarial=0), distance)(guess, photo, photo)
    assert list(once) == ["mse", "perceptual", "edge"]
    assert {k: (paper[k] / once[k]).item() for k in once} == pytest.approx(
        {"mse": 1, "perceptual": 5, "edge": 1}
    )
    assert list(BokehLoss(LossWeights(1, 0, 0, 0))(guess, photo, photo)) == ["mse"]


def test_a_term_that_cannot_be_computed_is_refused_by_name():
    with pytest.raises(ValueError, match="perceptual"):
        BokehLoss(LossWeights(adversarial=0))
    with pytest.raises(ValueError, match="adversarial"):
        BokehLoss(LossWeights(), torch.nn.Identity())
