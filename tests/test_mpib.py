"""MPIB: its discs, its compositing, its painted background and its published weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bokehlib import methods
from bokehlib.baselines import mpib, mpib_batched, trained
from bokehlib.baselines.inpainting import Inpainter
from bokehlib.baselines.mpib_networks import PLANES, AUPNet, MPINet
from bokehlib.data.datasets import load_dataset
from bokehlib.io.errors import InputError
from bokehlib.optics import Lens
from bokehlib.study import METHODS
from bokehlib.study.results import score_parameters

pytest.importorskip("cv2")


def test_the_planes_of_the_network_trained_here_are_opaque_where_their_pixels_are():
    network = trained.read("mpib-retrained", mpib.network)
    sample = next(s for s in load_dataset("synbokeh-mini") if s.blur == 1)
    place = (sample.disparity * PLANES).long().clamp(0, PLANES - 1)
    planes = place.unique()
    with torch.no_grad():
        aperture = float(sample.lens.aperture)
        _, alpha = network._planes(sample.image, sample.disparity, aperture, planes[None])
    opacities = alpha[:, 0].flatten(1)
    for plane, opacity in zip(planes, opacities, strict=True):
        own = place.flatten() == plane
        if own.sum() > 1000:
            assert opacity[own].mean() > max(0.8, opacity[~own].mean() + 0.5)


@pytest.mark.parametrize("radius", [1, 4, 13])
def test_a_blur_is_the_published_disc_with_continued_borders(radius):
    maps = torch.rand(1, 4, 30, 41)
    x = torch.arange(-radius, radius + 1)
    disc = 0.5 + 0.5 * torch.tanh(0.25 * (radius**2 - x[:, None] ** 2 - x**2) + 0.5)
    weights = (disc / disc.sum()).expand(4, 1, -1, -1)
    wanted = F.conv2d(F.pad(maps, [radius] * 4, mode="replicate"), weights, groups=4)
    assert (mpib.blur(maps, radius) - wanted).abs().max() < 1e-5
    assert torch.equal(mpib.blur(maps, 0), maps)


def test_a_plane_within_half_a_step_of_the_focus_is_sharp():
    assert mpib.radius_of(10, (10 + 0.9) / PLANES, 60.0) == 0
    assert mpib.radius_of(31, 0.5 / PLANES, 64.0) == round(64 * 30.5 / PLANES)


def test_planes_lie_over_one_another_from_the_farthest_to_the_nearest():
    far, near = torch.rand(2, 3, 24, 24)
    colours = torch.stack((far, near))
    alpha = torch.ones(2, 1, 24, 24)
    alpha[1, :, :, :12] = 0
    found = mpib.composite(colours, alpha, [3, 20], 20.5 / PLANES, 0.0, 2.2)
    wanted = torch.where(alpha[1] > 0, near, far)
    assert (found[0] - wanted).abs().max() < 0.01
    # In focus the near plane is sharp, the far one is blurred right up to its edge.
    found = mpib.composite(colours, alpha, [3, 20], 20.5 / PLANES, 12.0, 2.2)
    assert (found[0] - near)[..., 12:].abs().max() < 0.01
    assert (found[0] - far)[..., :12].abs().max() > 0.1


def test_a_constant_picture_stays_constant_whatever_the_opacities():
    colours = torch.full((5, 3, 20, 26), 0.4)
    found = mpib.composite(colours, torch.rand(5, 1, 20, 26), [1, 5, 9, 20, 31], 0.5, 30.0, 2.2)
    assert (found - 0.4).abs().max() < 1e-4


def test_the_painted_side_of_a_jump_is_the_near_one_and_as_wide_as_asked():
    disparity = np.full((40, 60), 0.2, np.float32)
    disparity[:, 30:] = 0.8
    hidden = mpib.hidden_side(disparity, 10)
    assert not hidden[:, :24].any()
    assert hidden[:, 31:39].all()
    assert not hidden[:, 46:].any()
    assert not mpib.hidden_side(np.full((40, 60), 0.5, np.float32), 10).any()


def test_a_foreground_is_painted_over_by_what_is_around_it():
    image = torch.full((1, 3, 48, 48), 0.6)
    disparity = torch.full((1, 1, 48, 48), 0.2)
    image[..., 16:32, 16:32], disparity[..., 16:32, 16:32] = 0.0, 0.9
    painted = mpib.background(image, disparity, 30.0, Inpainter())
    assert painted[..., 20:28, 20:28].min() > 0.5
    assert torch.equal(painted[..., :8, :], image[..., :8, :])


def test_the_published_files_are_read_with_all_of_their_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match=r"mpib_mpinet\.pth"):
        mpib.published()
    unused = {"encoder.encoder.fc.bias": torch.zeros(1000), "gaussian.weight": torch.zeros(1)}
    made = {}
    for network, file in zip((MPINet(), AUPNet()), mpib.PUBLISHED, strict=True):
        made = network.state_dict()
        held = {f"module.{name}": value for name, value in (made | unused).items()}
        torch.save({"model": held, "epoch": 1}, tmp_path / file)
    read = mpib.published().aupnet.state_dict()
    assert all(torch.equal(read[name], value) for name, value in made.items())
    del held["module.conv_alpha.bn.bias"]
    torch.save({"model": held}, tmp_path / mpib.PUBLISHED[1])
    with pytest.raises(InputError, match="tensors do not fit"):
        mpib.published()


def test_the_names_in_the_published_files_are_those_of_its_decoder():
    names = MPINet().state_dict()
    assert "decoder.convs.(-'-u-p-c-o-n-v-'-,- -4-,- -0-).conv.conv.weight" in names
    assert "encoder.encoder.layer2.0.downsample.0.1.weight" in names


def test_the_method_says_who_paints(tmp_path, monkeypatch):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    for name in ("mpib", "mpib-retrained", "drbokeh"):
        assert methods.phrase(name).endswith("inpainting by OpenCV")
    assert methods.weights_hash("drbokeh") == ""
    (tmp_path / "big-lama.pt").write_bytes(b"1")
    assert methods.phrase("drbokeh").endswith("inpainting by LaMa")
    assert methods.weights_hash("drbokeh") != ""
    assert methods.phrase("scatter") == METHODS["scatter"].phrase
    for name, painter in (("drbokeh", "LaMa"), ("scatter", None)):  # in the stamp of its scores
        made = score_parameters("synbokeh-mini", name, "exact", False)
        assert made.get("inpainting") == painter


def test_without_opencv_the_method_says_so(monkeypatch):
    monkeypatch.setattr(methods, "find_spec", lambda name: None)
    assert methods.lacks("drbokeh") == "no package cv2"


def test_published_networks_render_any_picture(tmp_path, monkeypatch):
    network = mpib.Mpib().eval()
    image, disparity = torch.rand(1, 3, 37, 50), torch.rand(1, 1, 37, 50)
    with torch.no_grad():
        found = network(image, disparity, Lens(0.4, 20.0))
    assert found.shape == image.shape
    assert found.isfinite().all()


# --- A batch at once -------------------------------------------------------------------------


def scene(size=64):
    """A tilted ground, and before it a disc in one picture and a bar in the other."""
    y, x = torch.meshgrid(*[torch.arange(float(size))] * 2, indexing="ij")
    disparity = (0.15 + 0.1 * y / size).expand(2, 1, size, size).clone()
    disparity[0, 0, (y - size / 2) ** 2 + (x - size / 3) ** 2 < (size / 4) ** 2] = 0.8
    disparity[1, 0, :, size // 2 : 3 * size // 4] = 0.6
    return torch.rand(2, 3, size, size), disparity


def test_a_batch_finds_the_hidden_sides_that_each_picture_has():
    _, disparity = scene(96)
    reach = torch.tensor([8.0, 40.0])
    found = mpib_batched.hidden_side(disparity, reach, mpib.JUMP)
    for n in range(2):
        wanted = torch.from_numpy(mpib.hidden_side(disparity[n, 0].numpy(), int(reach[n])))
        assert (found[n, 0] == wanted).float().mean() > 0.99
        assert 0.05 < wanted.float().mean() < 0.6
    assert not mpib_batched.hidden_side(torch.full_like(disparity, 0.5), reach, 0.2).any()


def test_jump_flooding_finds_the_nearest_pixel_of_a_mask():
    mask = torch.rand(1, 1, 33, 50) > 0.97
    rows, columns = torch.meshgrid(torch.arange(33), torch.arange(50), indexing="ij")
    away = [(rows - y) ** 2 + (columns - x) ** 2 for y, x in mask[0, 0].nonzero().tolist()]
    y, x = mpib_batched.nearest(mask)
    assert mask[0, 0, y.flatten(), x.flatten()].all()
    found = (rows - y[0, 0]) ** 2 + (columns - x[0, 0]) ** 2
    assert (found == torch.stack(away).amin(0)).float().mean() > 0.98


def test_planes_of_a_batch_are_those_on_which_pixels_lie():
    _, disparity = scene()
    planes, filled = mpib_batched.fullest(disparity)
    for n in range(2):
        wanted = (disparity[n] * PLANES).long().unique()
        assert planes[n][filled[n]].tolist() == wanted.tolist()  # ascending
    radius = mpib_batched.radii(planes, torch.tensor([0.2, 0.6]), torch.tensor([30.0, 12.0]))
    wanted = [mpib.radius_of(int(plane), 0.6, 12.0) for plane in planes[1]]
    assert radius[1].tolist() == wanted


def test_a_batch_of_planes_lies_over_one_another_as_one_picture_does():
    _, disparity = scene(40)
    planes, filled = mpib_batched.fullest(disparity)
    focus, aperture = torch.tensor([0.2, 0.6]), torch.tensor([20.0, 12.0])
    radius = mpib_batched.radii(planes, focus, aperture) * filled
    colours = torch.rand(2, mpib_batched.SLOTS, 3, 40, 40)
    alpha = torch.rand(2, mpib_batched.SLOTS, 1, 40, 40) * filled[..., None, None, None]
    alpha[:, :, :, :20] = alpha[:, :, :, :20].ceil()  # opaque, or empty
    found = mpib_batched.composite(colours, alpha, radius, 16, 2.2, mpib.FAINT)
    for n in range(2):
        own = filled[n]
        wanted = mpib.composite(
            colours[n][own], alpha[n][own], planes[n][own].tolist(), float(focus[n]),
            float(aperture[n]), 2.2,
        )  # fmt: skip
        assert (found[n] ** 2.2 - wanted[0] ** 2.2).abs().max() < 1e-5


def test_training_renders_what_rendering_renders_but_for_the_painted_background(monkeypatch):
    monkeypatch.setattr(mpib, "background", lambda image, *_, **__: image)
    monkeypatch.setattr(mpib_batched, "background", lambda image, hole: image)
    image, disparity = scene()
    network, lens = mpib.network("mpib-retrained"), Lens(0.2, torch.tensor([25.0, 12.0]))
    with torch.no_grad():
        together = network(image, disparity, lens)
        one_by_one = network.eval()(image, disparity, lens)
    assert (together - one_by_one).abs().max() < 1e-3
    assert (together - image).abs().max() > 0.1
