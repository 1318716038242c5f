"""Adapters of a lower rank: the nearest ones, in a file that says what was trained."""

from dataclasses import replace

import pytest
import torch

from bokehlib.bokehdiff import adapters, mini
from bokehlib.io import tensorfiles
from bokehlib.io.errors import InputError
from bokehlib.study import Recipe

RECIPE = replace(Recipe(), rank=4)


@pytest.fixture(scope="module")
def tensors():
    """An adapter of rank 4 whose products have rank 2."""
    pipeline = mini.tiny(RECIPE)
    adapters.add_adapters(pipeline, RECIPE)
    found = {name: torch.randn_like(value) for name, value in adapters.trained(pipeline).items()}
    for name in found:
        if ".lora_A." in name:
            found[name][2:] = 0
    return found


def product(tensors, name):
    up = tensors[name.replace(".lora_A.", ".lora_B.")].flatten(1)
    return up @ tensors[name].flatten(1)


def test_a_cut_to_the_rank_it_has_changes_no_product(tensors):
    cut = adapters.cut_rank(tensors, 2)
    pairs = [name for name in tensors if ".lora_A." in name]
    assert pairs
    for name in pairs:
        assert len(cut[name]) == 2
        torch.testing.assert_close(product(cut, name), product(tensors, name), rtol=0, atol=1e-4)


def test_a_cut_keeps_the_largest_singular_values(tensors):
    cut = adapters.cut_rank(tensors, 1)
    name = next(name for name in tensors if ".lora_A." in name)
    left = torch.linalg.svdvals(product(tensors, name) - product(cut, name))
    values = torch.linalg.svdvals(product(tensors, name))
    torch.testing.assert_close(left[:1], values[1:2], rtol=1e-4, atol=1e-4)


def test_the_cut_file_renders_as_the_whole_one_and_names_its_recipe(tmp_path, tensors):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    adapters.save_adapter(tensors, RECIPE, whole, {})
    adapters.cut_file(whole, 2, cut)
    assert cut.stat().st_size < whole.stat().st_size
    assert adapters.recipe_of(cut) == RECIPE
    pipelines = [mini.tiny(RECIPE) for _ in range(2)]
    for pipeline, file in zip(pipelines, (whole, cut), strict=True):
        adapters.load_adapter(pipeline, file)
    for (name, one), other in zip(
        pipelines[0].unet.state_dict().items(), pipelines[1].unet.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-2, msg=name)


@pytest.mark.parametrize("rank", [0, 5])
def test_a_rank_beyond_the_adapters_is_refused(tmp_path, tensors, rank):
    file, out = tmp_path / "adapter.safetensors", tmp_path / "out.safetensors"
    adapters.save_adapter(tensors, RECIPE, file, {})
    with pytest.raises(InputError, match=f"found {rank}; accepted: 1 to 4"):
        adapters.cut_file(file, rank, out)
    assert not out.exists()


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"found no file .*nothing\.safetensors"):
        adapters.cut_file(tmp_path / "nothing.safetensors", 1, tmp_path / "x")


def test_a_cut_of_a_cut_is_bounded_by_the_first(tmp_path, tensors):
    file = tmp_path / "cut.safetensors"
    adapters.save_adapter(tensors, RECIPE, file, {})
    adapters.cut_file(file, 2, file)
    inside = tensorfiles.read(file)[1]
    assert inside["rank"] == inside["note"]["cut_to_rank"] == 2
    with pytest.raises(InputError, match="accepted: 1 to 2"):
        adapters.cut_file(file, 3, file)
