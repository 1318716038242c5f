"""PSNR, SSIM, LPIPS and DISTS, and where their networks come from."""

import math

import pytest
import safetensors.torch
import torch
import torchvision
from torch.nn.functional import avg_pool2d, interpolate

from bokehlib.evaluation.metrics import METRICS, SMALLEST_SIDE, Measure
from bokehlib.io import pretrained
from bokehlib.io.pretrained import MissingBackbone, backbone_features, lpips_network


def _picture(side=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return interpolate(torch.rand(1, 3, side // 4, side // 4, generator=generator), side)


def _blurred(image, size):
    return avg_pool2d(image, 2 * size + 1, stride=1, padding=size, count_include_pad=False)


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """A machine that holds no backbone; returns its BOKEHLIB_WEIGHTS and torch.hub folders."""
    own, hub = tmp_path / "own", tmp_path / "torch" / "hub" / "checkpoints"
    own.mkdir()
    hub.mkdir(parents=True)
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(own))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return own, hub


@pytest.fixture
def shared_weights(shared, monkeypatch):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(shared / "weights"))
    return shared / "weights"


def _invented_weights(backbone, scale=0.05):
    """Random weights under the right names and shapes, positive enough for features to differ."""
    with torch.device("meta"):
        shapes = getattr(torchvision.models, backbone)(weights=None).features.state_dict()
    generator = torch.Generator().manual_seed(0)
    return {
        f"features.{key}": scale * torch.randn(value.shape, generator=generator).half()
        for key, value in shapes.items()
    }


def test_without_weights_only_what_needs_none_is_measured(no_weights):
    measure = Measure()
    assert measure.names == ("psnr", "ssim")
    assert set(measure.missing) == set(METRICS) - {"psnr", "ssim"}
    assert set(measure(_picture(), _picture(seed=1))) == {"psnr", "ssim"}
    own, hub = no_weights
    for name, file in (("lpips_alex", "alexnet-owt-7be5be79.pth"), ("dists", "vgg16-397923af.pth")):
        for part in (file, str(own), str(hub)):
            assert part in measure.missing[name]


def test_psnr_and_ssim_are_those_of_their_definitions():
    target = 0.25 + 0.5 * _picture()
    values = Measure()(target + 0.1, target)
    assert values["psnr"] == pytest.approx(20, abs=1e-3)
    flat = Measure()(torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.3))
    assert flat["ssim"] == pytest.approx((2 * 0.15 + 1e-4) / (0.34 + 1e-4), abs=1e-5)


def test_what_lies_outside_the_range_is_clamped_first():
    target = _picture().round()  # black and white
    assert Measure()(3 * target - 1, target)["psnr"] == math.inf


def test_a_picture_smaller_than_a_window_has_no_such_metric(shared_weights):
    measure = Measure()
    for side in (1, 10, 11, 16, 17, 30, 31):
        values = measure(_picture(64)[..., :side, :], _picture(64, 1)[..., :side, :])
        assert set(values) == {name for name in measure.names if side >= SMALLEST_SIDE[name]}


@pytest.mark.parametrize(
    ("prediction", "target"),
    [((1, 3, 16, 16), (1, 3, 16, 17)), ((2, 3, 16, 16),) * 2, ((1, 1, 16, 16),) * 2],
)
def test_pictures_that_cannot_be_compared_are_refused(prediction, target):
    with pytest.raises(ValueError, match=r"prediction and target: found .*accepted: equal"):
        Measure()(torch.zeros(prediction), torch.zeros(target))


def test_a_broken_prediction_has_no_score():
    broken = _picture()
    broken[0, 1, 2, 3] = math.nan
    with pytest.raises(ValueError, match="prediction: found NaN"):
        Measure()(broken, _picture())


@pytest.mark.parametrize("name", ["lpips_alex", "lpips_squeeze"])
def test_lpips_is_a_distance_that_grows_with_blur(shared_weights, name):
    measure = Measure()
    sharp = _picture()
    values = [measure(_blurred(sharp, size), sharp)[name] for size in (0, 1, 2, 4)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[1] > 0.005
    assert measure(sharp, _blurred(sharp, 2))[name] == pytest.approx(values[2], rel=1e-4)


def test_the_lpips_heads_are_the_packages_own_and_the_nets_differ(shared_weights):
    measure = Measure()
    values = measure(_blurred(_picture(), 2), _picture())
    assert abs(values["lpips_alex"] - values["lpips_squeeze"]) > 0.01
    heads = [lpips_network("alex").lin0.model[1].weight for _ in range(2)]
    assert torch.equal(*heads)
    assert heads[0].min() >= 0  # trained ones are; random ones are not


def test_lpips_passes_gradients_to_the_picture_and_none_to_its_weights(shared_weights):
    network = lpips_network("squeeze")
    picture = _picture().requires_grad_()
    network(picture, _picture(seed=1)).sum().backward()
    assert picture.grad.abs().sum() > 0
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_building_the_networks_leaves_the_global_random_state_alone(shared_weights):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Measure()
    assert torch.equal(torch.rand(3), expected)


def test_vgg16_serves_lpips_and_dists_without_a_download(no_weights):
    own, _ = no_weights
    safetensors.torch.save_file(_invented_weights("vgg16"), own / "vgg16_features.safetensors")
    measure = Measure()
    assert measure.names == ("psnr", "ssim", "lpips_vgg", "dists")
    sharp = _picture()
    same, other = measure(sharp, sharp), measure(_blurred(sharp, 3), sharp)
    assert same["lpips_vgg"] == 0
    assert abs(same["dists"]) < 1e-5
    assert other["lpips_vgg"] > 1e-3
    assert other["dists"] > 1e-3
    assert "lpips_alex" in measure.missing  # a VGG16 is not an AlexNet


def test_torchvisions_own_file_is_taken_from_the_cache_of_torch_hub(no_weights):
    own, hub = no_weights
    weights = _invented_weights("squeezenet1_1")
    classifier = {"classifier.1.weight": torch.zeros(1000, 512, 1, 1)}
    torch.save(weights | classifier, hub / "squeezenet1_1-b8a52dc0.pth")
    loaded = backbone_features("squeezenet1_1").state_dict()
    assert all(torch.equal(weights[f"features.{key}"].float(), v) for key, v in loaded.items())
    doubled = {key: 2 * value for key, value in weights.items()}
    safetensors.torch.save_file(doubled, own / "squeezenet1_1_features.fp16.safetensors")
    loaded = backbone_features("squeezenet1_1").state_dict()  # the own folder comes first
    assert all(torch.equal(doubled[f"features.{key}"].float(), v) for key, v in loaded.items())


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_weights_of_another_shape_of_network_are_refused(no_weights, change):
    weights = _invented_weights("squeezenet1_1")
    if change == "missing":
        del weights["features.0.bias"]
    else:
        weights["features.99.weight"] = torch.zeros(1)
    safetensors.torch.save_file(weights, no_weights[0] / "squeezenet1_1_features.safetensors")
    with pytest.raises(RuntimeError, match=change.title()):
        lpips_network("squeeze")


def test_a_missing_backbone_is_what_a_user_can_mend(no_weights):
    with pytest.raises(MissingBackbone, match="BOKEHLIB_WEIGHTS"):
        pretrained.find_backbone("alexnet")
