"""BokehMe: its classical render and networks against the published ones, and its methods."""

import math

import numpy as np
import pytest
import torch

from bokehlib import methods
from bokehlib.baselines import bokehme, trained
from bokehlib.baselines.bokehme import ARNet, BokehMe, IUNet, adaptive
from bokehlib.baselines.bokehme_classical import Aperture, dilated, enhance, render
from bokehlib.classical import scattering
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens
from bokehlib.study import METHODS


def count(network):
    return sum(p.numel() for p in network.parameters())


def scene(height=24, width=31):
    image = torch.rand(1, 3, height, width, dtype=torch.float64)
    return image, torch.rand(1, 1, height, width, dtype=torch.float64)


def point(aperture, radius=12.0):
    """What one point of light becomes, (41, 41) of sum about 1, radius 12 px."""
    image = torch.zeros(1, 3, 41, 41, dtype=torch.float64)
    image[..., 20, 20] = 1
    defocus = torch.full((1, 1, 41, 41), radius, dtype=torch.float64)
    return render(image, defocus, 1.0, aperture)[0, 0]


# --- The classical render --------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [1.0, 2.2, 5.0])
def test_a_disc_is_the_published_kernel(gamma):
    image, disparity = scene()
    wanted = scattering.scatter(image, disparity, Lens(0.4, 9.0), gamma)
    assert (render(image, 9 * (disparity - 0.4), gamma) - wanted).abs().max() < 1e-12


def test_a_radius_of_exactly_0_stays_in_its_own_pixel():
    image, _ = scene()
    defocus = torch.zeros(1, 1, 24, 31, dtype=torch.float64)
    assert (render(image, defocus, 2.2) - image).abs().max() < 1e-12
    defocus[..., 12, 15] = 1e-9  # the published kernel: a little of it is in its neighbours
    assert (render(image, defocus, 2.2) - image).abs().max() > 1e-6


@pytest.mark.parametrize("blades", [3, 5, 6, 8])
def test_a_polygon_reaches_its_corners_and_its_sides(blades):
    spot = point(Aperture(blades))
    y, x = torch.meshgrid(torch.arange(41) - 20, torch.arange(41) - 20, indexing="ij")
    distance = torch.hypot(y.double(), x.double())
    inner = 12 * math.cos(math.pi / blades)  # radius of the circle inside the polygon
    lit = spot > spot[20, 20] / 2
    assert lit[distance < inner - 1].all()
    assert not lit[distance > 13].any()
    assert spot[20, 31] > spot[20, 20] / 2  # a corner lies on the axis
    area = blades / 2 * 12**2 * math.sin(2 * math.pi / blades)
    assert float(lit.sum()) == pytest.approx(area, rel=0.08)


def test_a_turned_polygon_is_another_and_a_full_step_the_same():
    straight = point(Aperture(6))
    assert (point(Aperture(6, math.pi / 6)) - straight).abs().max() > 1e-3
    inside = torch.zeros_like(straight)
    inside[12:29, 12:29] = 1
    assert ((point(Aperture(6, 2 * math.pi / 6)) - straight) * inside).abs().max() < 1e-9


def test_a_donut_is_darker_in_the_middle_than_at_its_edge():
    for donut, ratio in ((0.0, 1.0), (0.5, 0.03)):
        spot = point(Aperture(donut=donut))
        assert float(spot[20, 20] / spot[20, 30]) <= ratio + 1e-3
    with pytest.raises(ValueError, match=r"donut: found 0.6; accepted: 0 to 0.5"):
        Aperture(donut=0.6)
    with pytest.raises(ValueError, match=r"blades: found 2; accepted: 0 \(a disc\), 3"):
        Aperture(2)


def test_highlights_out_of_focus_are_brightened_and_nothing_else():
    image = torch.tensor([1.0, 1.0, 0.5]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    disparity = torch.tensor([0.9, 0.4, 0.9]).view(1, 1, 1, 3)
    found = enhance(image, disparity, torch.tensor(0.4))[0, 0, 0]
    bright = 0.4 * math.tanh(10 * (1 - 220 / 255)) * math.tanh(200 * (0.25 - 0.01))
    assert found.tolist() == pytest.approx([1 + bright, 1.0, 0.5])


def test_the_dilated_defocus_is_the_largest_whose_disc_covers_a_pixel():
    defocus = 14 * torch.rand(1, 1, 20, 26, dtype=torch.float64) - 7
    y, x = torch.meshgrid(torch.arange(20), torch.arange(26), indexing="ij")
    wanted = defocus[0, 0].trunc()
    for i in range(20):
        for j in range(26):
            signed = defocus[0, 0, i, j]
            covered = (y - i) ** 2 + (x - j) ** 2 <= signed**2
            wanted[covered] = wanted[covered].clamp(min=float(signed.trunc()))
    assert torch.equal(dilated(defocus)[0, 0], wanted)


def test_the_number_of_threads_does_not_change_a_bit(monkeypatch):
    image, disparity = scene(50, 33)
    many = render(image, 9 * disparity, 2.2)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert torch.equal(render(image, 9 * disparity, 2.2), many)


# --- The networks ----------------------------------------------------------------------------


def test_the_networks_have_the_published_numbers_of_parameters():
    assert count(ARNet()) == 923_664
    assert count(IUNet()) == 240_076


def test_the_published_iunet_loads_strictly_and_agrees(shared):
    reference = np.load(shared / "reference" / "bokehme_networks.npz")
    path = shared / "weights" / "bokehme_iunet.pth"
    network = IUNet()
    trained.fit(network, trained.checkpoint(path)["model"], path)
    maps = [torch.from_numpy(reference[name]) for name in ("image", "defocus", "coarse")]
    with torch.no_grad():
        found = network(*maps, float(reference["gamma_normalised"]))
    assert (found - torch.from_numpy(reference["iunet_out"])).abs().max() < 1e-5
    with pytest.raises(InputError, match="tensors do not fit"):
        trained.fit(ARNet(), trained.checkpoint(path)["model"], path)


def test_arnet_agrees_with_the_published_one_on_the_same_weights(shared):
    reference = np.load(shared / "reference" / "bokehme_networks.npz")
    network = ARNet()
    weights = {k[6:]: torch.from_numpy(reference[k]).float() for k in reference if "/" in k}
    network.load_state_dict(weights)
    maps = [torch.from_numpy(reference[name]) for name in ("image", "defocus")]
    with torch.no_grad():
        found = network(*maps, float(reference["gamma_normalised"]))
    for mine, name in zip(found, ("arnet_bokeh", "arnet_error"), strict=True):
        assert (mine - torch.from_numpy(reference[name])).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("shrink", "sizes"), [(1, [40]), (1.9, [40]), (3, [26, 40]), (4, [20, 40, 40])]
)
def test_iunet_doubles_the_size_until_it_is_full(shrink, sizes, monkeypatch):
    asked = []

    class Seen(torch.nn.Module):
        def forward(self, image, defocus, *others):
            asked.append((image.shape[-1], float(defocus.abs().max())))
            made = torch.zeros_like(image)
            return (made, torch.zeros_like(defocus)) if len(others) == 1 else made

    maps = [
        torch.rand(1, 3, 40, 40),
        torch.full((1, 1, 40, 40), -float(shrink)),
        torch.zeros(1, 1, 40, 40),
    ]
    adaptive(Seen(), Seen(), maps, 0.3, shrink)
    assert asked[0] == (int(40 / shrink), pytest.approx(1))  # ARNet: no blur beyond 10 px
    assert [width for width, _ in asked[1:]] == sizes
    assert all(blur <= 1 for _, blur in asked[1:])


def test_where_the_error_map_is_0_the_classical_render_stands_and_where_it_is_1_the_neural():
    image, disparity = (x.float() for x in scene())
    lens, plain = Lens(0.4, 25.0), torch.full_like(image, 0.25)
    network = BokehMe((4, 4))
    for sign, stands in ((-1e4, True), (1e4, False)):
        with torch.no_grad():
            network.arnet.conv1.conv.bias[12:] = sign
            found = network(image, disparity, lens, plain)
        assert bool((found - plain).abs().max() < 1e-6) == stands


def test_a_network_that_trusts_the_classical_render_wholly_still_learns_to_draw_and_where():
    torch.manual_seed(0)
    network = BokehMe((4, 4)).train()
    with torch.no_grad():
        network.arnet.conv1.conv.bias[12:] = -30.0  # E is 0 everywhere
    image, disparity = torch.rand(2, 3, 24, 24), torch.rand(2, 1, 24, 24)
    plain = torch.full_like(image, 0.5)
    made = network(image, disparity, Lens(0.5, 8.0), plain)
    torch.testing.assert_close(made, plain)
    target = plain.clone()
    target[..., :12] += bokehme.WRONG / 2
    terms = network.own_terms(target)
    assert terms["error"].item() == pytest.approx(0.25, abs=1e-4)
    terms["neural"].backward()
    assert network.iunet.conv1.conv.weight.grad.abs().sum() > 0


def test_in_training_pictures_of_one_blur_share_their_sizes_and_keep_their_places(monkeypatch):
    monkeypatch.setattr(bokehme, "GROUPS", 2)
    image, disparity = torch.rand(4, 3, 32, 32), torch.rand(4, 1, 32, 32)
    disparity[..., 0, 0] = 1
    lens = Lens(0.0, torch.tensor([20.0, 10.0, 20.0, 10.0]))  # px, as the largest blur: on a rung
    network, batches = BokehMe((8, 8)), []
    network.arnet.register_forward_hook(lambda *call: batches.append(call[1][0].shape))
    with torch.no_grad():
        together = network(image, disparity, lens)
        network.eval()
        pictures = zip(image.split(1), disparity.split(1), lens.aperture.split(1), strict=True)
        one_by_one = torch.cat([network(i, d, Lens(0.0, a)) for i, d, a in pictures])
    assert batches[:2] == [(2, 3, 32, 32), (2, 3, 16, 16)]
    assert len(batches) == 2 + 4
    assert (together - one_by_one).abs().max() < 1e-5


@pytest.mark.parametrize(("shrink", "sizes"), [(1, 1), (1.1, 2**0.5), (2, 2), (2.9, 4)])
def test_sizes_of_training_leave_no_blur_beyond_10_px(shrink, sizes):
    assert bokehme._rung(shrink) == pytest.approx(sizes)


# --- The methods -----------------------------------------------------------------------------


def published(folder):
    torch.manual_seed(1)
    for network, file in zip((ARNet(), IUNet()), bokehme.PUBLISHED, strict=True):
        torch.save({"model": network.state_dict(), "global_step": 1}, folder / file)


def test_bokehme_runs_once_both_published_files_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    assert "bokehme_arnet.pth" in methods.lacks("bokehme")
    published(tmp_path)
    image, disparity = (x.float() for x in scene())
    rendered = [
        methods.load("bokehme", "cpu", **options)(image, disparity, Lens(0.4, 20.0))
        for options in ({}, {"gamma": 4.0}, {"blades": 5}, {"donut": 0.4}, {"highlights": True})
    ]
    assert all(0 <= r.min() <= r.max() <= 1 for r in rendered)
    assert all((r - rendered[0]).abs().max() > 1e-4 for r in rendered[1:])
    again = methods.load("bokehme", "cpu")
    assert torch.equal(again(image, disparity, Lens(0.4, 20.0)), rendered[0])
    assert torch.equal(again(image, disparity, Lens(0.4, 0.0)), image)
    with pytest.raises(ValueError, match=r"gamma: found 6; accepted: 1 to 5"):
        methods.load("bokehme", "cpu", gamma=6)


def test_only_the_tuned_published_weights_carry_the_papers_label(tmp_path, monkeypatch):
    assert METHODS["bokehme-finetuned"].published == "BokehMe*"
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match=r"bokehme_arnet\.pth"):
        bokehme.network("bokehme-finetuned")
    published(tmp_path)
    start = bokehme.network("bokehme-finetuned").state_dict()
    given = trained.checkpoint(tmp_path / bokehme.PUBLISHED[0])["model"]
    assert all(torch.equal(start[f"arnet.{name}"], value) for name, value in given.items())


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path):
    file = tmp_path / "x.pth"
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"x\.pth: .*accepted: a checkpoint of weights"):
        trained.checkpoint(file)
