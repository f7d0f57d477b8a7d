import math

import pytest
import torch
import torch.nn.functional as F

from continual_repmode.models.conv_units import UnitSpec
from continual_repmode.models.methods.tsn import (
    EmbeddedTasks,
    EqualizedLinear,
    SwitchedConv,
    TaskEmbedding,
    normalize_instances,
)
from continual_repmode.models.task_groups import TaskGroups

TASKS = ("red", "green", "blue")


def test_equalized_layer_scales_its_standard_normal_weights_at_every_use():
    torch.manual_seed(0)
    layer = EqualizedLinear(200, 400).double()
    assert layer.weight.std().item() == pytest.approx(1, abs=0.02)
    assert not layer.bias.any()
    features = torch.randn(3, 200, dtype=torch.float64)
    torch.nn.init.normal_(layer.bias)
    expected = features @ layer.weight.T * math.sqrt(2 / 200) + layer.bias
    torch.testing.assert_close(layer(features), expected)


def test_orthogonal_codes_are_ones_in_entries_of_the_task_alone():
    embedding = TaskEmbedding(TASKS, "orthogonal", entries_per_task=5, max_tasks=4)
    embedding.add_task("pink")
    codes = torch.stack([embedding.get_buffer(f"code_{t}") for t in (*TASKS, "pink")])
    assert torch.equal(codes @ codes.T, 5 * torch.eye(4))
    assert set(codes.unique().tolist()) == {0, 1}


def test_gaussian_codes_are_standard_normal_and_differ_between_tasks():
    torch.manual_seed(0)
    embedding = TaskEmbedding(TASKS, "gaussian", entries_per_task=500, max_tasks=4)
    codes = torch.stack([embedding.get_buffer(f"code_{task}") for task in TASKS])
    assert codes.shape == (3, 2000)
    torch.testing.assert_close(codes.std(dim=1), torch.ones(3), atol=0.05, rtol=0)
    assert (torch.corrcoef(codes) - torch.eye(3)).abs().max() < 0.1


@pytest.mark.parametrize("codes", ["orthogonal", "gaussian"])
def test_codes_are_divided_by_their_root_mean_square(codes):
    torch.manual_seed(0)
    embedding = TaskEmbedding(TASKS, codes, entries_per_task=5, max_tasks=4).double()
    seen = []
    embedding.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    embedding(TaskGroups([0, 1, 1], TASKS))
    mean_square = seen[0].square().mean(dim=1)
    torch.testing.assert_close(mean_square, torch.ones_like(mean_square))
    if codes == "orthogonal":  # square root of the number of tasks there is room for
        expected = torch.zeros(2, 20, dtype=torch.float64)
        expected[0, :5] = expected[1, 5:10] = 2
        torch.testing.assert_close(seen[0], expected, rtol=1e-6, atol=0)


def test_embedding_is_eight_equalized_layers_with_leaky_relu():
    torch.manual_seed(0)
    embedding = TaskEmbedding(TASKS, "gaussian", entries_per_task=2, max_tasks=3)
    embedding.double()
    assert len(embedding.layers) == 8
    actual = embedding(TaskGroups([0, 2, 2], TASKS))
    for row, task in enumerate(("red", "blue", "blue")):
        e = embedding.get_buffer(f"code_{task}")
        e = e / ((e * e).mean() + 1e-8).sqrt()
        for layer in embedding.layers:
            e = math.sqrt(2 / 6) * layer.weight @ e + layer.bias
            e = torch.where(e > 0, e, 0.2 * e)
        torch.testing.assert_close(actual[row], e)


def test_instances_are_normalized_each_on_its_own():
    for shape in ((2, 3, 2, 4, 4), (1, 3, 1, 1, 2), (1, 1, 1, 2, 2)):
        torch.manual_seed(0)
        features = 3 + 5 * torch.randn(shape, dtype=torch.float64)
        mean = features.mean((2, 3, 4), keepdim=True)
        variance = (features - mean).square().mean((2, 3, 4), keepdim=True)
        expected = (features - mean) / (variance + 1e-5).sqrt()
        torch.testing.assert_close(normalize_instances(features), expected)
        torch.testing.assert_close(F.instance_norm(features), expected)


def test_a_single_voxel_is_normalized_to_zero_with_zero_gradient():
    torch.manual_seed(0)
    for batch, channels in ((1, 1), (1, 3), (2, 1), (2, 3)):
        shape = (batch, channels, 1, 1, 1)
        features = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        normalized = normalize_instances(features)
        (normalized * torch.randn_like(normalized)).sum().backward()
        assert not normalized.any()
        torch.testing.assert_close(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize(("axes", "size"), [("ZYX", (3, 3, 3)), ("YX", (1, 3, 3))])
def test_switched_convolution_is_the_published_formula(axes, size):
    torch.manual_seed(0)
    spec = UnitSpec("decoder1.conv1", "conv", 2, 3, axes)
    unit = SwitchedConv(spec, 3, embedding_size=6, film_init="published").double()
    embeddings = torch.randn(2, 6, dtype=torch.float64)
    tasks = EmbeddedTasks(TaskGroups([0, 2], TASKS), TASKS, embeddings)
    features = torch.randn(2, 2, 2, 4, 4, dtype=torch.float64)
    actual = unit(features, tasks)
    assert unit.conv.weight.shape[2:] == size
    padding = [s // 2 for s in size]
    for row in range(2):
        u = F.conv3d(features[row], unit.conv.weight, unit.conv.bias, padding=padding)
        gamma_beta = math.sqrt(2 / 6) * unit.film.weight @ embeddings[row]
        gamma_beta = gamma_beta + torch.tensor([1, 1, 1, 0, 0, 0])
        gamma, beta = gamma_beta.view(2, 3, 1, 1, 1)
        mean = u.mean((1, 2, 3), keepdim=True)
        variance = u.var((1, 2, 3), unbiased=False, keepdim=True)
        y = gamma * (u - mean) / (variance + 1e-5).sqrt() + beta
        torch.testing.assert_close(actual[row], torch.where(y > 0, y, 0.01 * y))


def test_identity_start_is_scale_one_and_shift_zero_for_every_task():
    torch.manual_seed(0)
    spec = UnitSpec("decoder1.conv1", "conv", 2, 3, "ZYX")
    unit = SwitchedConv(spec, 1, embedding_size=6, film_init="identity").double()
    groups = TaskGroups([0, 2], TASKS)
    tasks = EmbeddedTasks(groups, TASKS, torch.randn(2, 6, dtype=torch.float64))
    features = torch.randn(2, 2, 2, 4, 4, dtype=torch.float64)
    expected = F.leaky_relu(F.instance_norm(unit.conv(features)), 0.01)
    torch.testing.assert_close(unit(features, tasks), expected)
