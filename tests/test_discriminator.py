import logging

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from bokehlib.training import discriminator
from bokehlib.training.losses import adversarial, discrimination


@pytest.fixture
def pictures():
    """Random structure in [-1, 1] and the same blurred, (8, 3, 32, 32) each."""
    coarse = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    sharp = 2 * F.interpolate(coarse, size=(32, 32), mode="nearest") - 1
    return sharp, F.avg_pool2d(F.pad(sharp, (2,) * 4, mode="reflect"), 5, 1)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without a single weight."""
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path


def taught(judge, real, made, steps=60):
    optimiser = torch.optim.AdamW(judge.head.parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(discrimination(judge(real), judge(made)).values()).backward()
        optimiser.step()
    return judge


def test_the_discriminators_steps_part_true_pictures_from_made_ones(pictures):
    real, made = pictures
    judge = taught(discriminator.tiny(), real, made)
    assert judge(real).mean() > 0.3 > -0.3 > judge(made).mean()


def test_the_generators_steps_make_a_picture_pass_for_a_true_one(pictures):
    real, made = pictures
    judge = taught(discriminator.tiny(), real, made).eval()
    picture = made.clone().requires_grad_()
    before = adversarial(judge(picture))
    before.backward()
    after = adversarial(judge(made - 0.01 * picture.grad / picture.grad.abs().max()))
    assert after < before.item() - 1e-3


def test_the_backbone_stays_as_it_is_and_only_the_head_learns(pictures):
    judge = discriminator.tiny()
    before = {name: value.clone() for name, value in judge.state_dict().items()}
    taught(judge, *pictures, steps=1)
    changed = {n for n, value in judge.state_dict().items() if not torch.equal(before[n], value)}
    assert all(name.startswith("head.") for name in changed)
    learnt = {name for name, p in judge.named_parameters() if p.requires_grad}
    assert learnt <= changed
    assert len(learnt) == 4  # weight and bias of two layers


def test_the_backbone_drops_no_layer_at_random_while_the_head_learns(pictures):
    judge = discriminator.tiny().train()
    assert not judge.features.training
    assert judge.head.training
    assert torch.equal(judge.features(pictures[0]), judge.features(pictures[0]))


def test_no_layer_of_the_head_stretches_its_input(pictures):
    judge = taught(discriminator.tiny(), *pictures)
    for layer in (judge.head[0], judge.head[2]):
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item()
        assert largest == pytest.approx(1, rel=0.05)


def test_a_random_backbone_is_named_so_and_said_aloud(nowhere, caplog):
    with caplog.at_level(logging.WARNING):
        judge = discriminator.convnext(0)
    assert judge.label == "ConvNeXt, random"
    assert "ConvNeXt, random" in caplog.text
    assert "convnext_tiny-983f1562.pth" in caplog.text
    # Its blocks do something, and different places get different logits.
    assert judge(torch.rand(1, 3, 64, 64)).std() > 1e-3


def test_a_backbone_whose_weights_are_found_is_taken_and_named(nowhere, monkeypatch):
    monkeypatch.setattr(discriminator, "CHANNELS", 16)
    import torchvision

    def small(weights, **options):
        blocks = [torchvision.models.convnext.CNBlockConfig(16, None, 2)]
        return torchvision.models.convnext.ConvNeXt(blocks, **options)

    monkeypatch.setattr(torchvision.models, "convnext_tiny", small)
    learnt = {name: v.half() for name, v in small(None).features.state_dict().items()}
    save_file(learnt, nowhere / "convnext_tiny_features.fp16.safetensors")
    judge = discriminator.convnext(0)
    assert judge.label == "ConvNeXt, ImageNet"
    found = judge.features.state_dict()
    assert all(torch.equal(found[name], value.float()) for name, value in learnt.items())


def test_a_checkpoint_brings_the_backbone_and_its_name(pictures):
    random = discriminator.tiny(seed=0)
    learnt = discriminator.Discriminator(discriminator.tiny(seed=1).features, 16, pretrained=True)
    random.load_state_dict(learnt.state_dict())
    assert random.label == learnt.label == "ConvNeXt, ImageNet"
    assert torch.equal(random.eval()(pictures[0]), learnt.eval()(pictures[0]))


def test_the_seed_decides_and_the_global_random_numbers_are_left_alone():
    state = torch.get_rng_state()
    one, two, other = (discriminator.tiny(seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.0.bias"], other["head.0.bias"])


def test_the_backbone_sees_pictures_as_it_was_trained_on_them():
    seen = []
    judge = discriminator.Discriminator(torch.nn.Identity(), 3, pretrained=True)
    judge.features.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    judge(2 * mean - 1)
    judge(2 * (mean + 0.1) - 1)
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 1, 1), atol=1e-6, rtol=0)
    deviation = torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(seen[1].flatten(), 0.1 / deviation)
