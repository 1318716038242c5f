"""MPIB: its discs, its compositing, its painted background and its published weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bokehlib import methods
from bokehlib.baselines import mpib
from bokehlib.baselines.inpainting import Inpainter
from bokehlib.baselines.mpib_networks import PLANES, AUPNet, MPINet
from bokehlib.errors import InputError
from bokehlib.optics import Lens
from bokehlib.results import score_parameters
from bokehlib.study import METHODS

pytest.importorskip("cv2")


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
