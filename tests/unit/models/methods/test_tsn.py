import math

import pytest
import torch
import torch.nn.functional as F

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import UnitSpec
from continual_repmode.models.methods.tsn import (
    EmbeddedTasks,
    EqualizedLinear,
    SwitchedConv,
    TaskEmbedding,
    TaskSwitchingUNet,
    normalize_instances,
)
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_norm import TaskNorm
from continual_repmode.models.unet3d import UNet3d

TASKS = ("red", "green", "blue")
SMALL = {"width": 2, "depth": 1, "kernel_size": 3, "entries_per_task": 2}


def num_parameters(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_extra_and_per_task_parameters():
    for entries, size in ((20, 240), (8, 96)):
        with torch.device("meta"):
            plain, net = UNet3d(), TaskSwitchingUNet(entries_per_task=entries)
        embedding = 8 * (size**2 + size) + 2 * 1_952 * (size + 1)
        extra = embedding + 350_176 + 960 - 1_920
        assert num_parameters(net) == num_parameters(plain) + extra
        assert {net.num_task_parameters(task) for task in net.task_names} == {0}


def test_codes_for_another_task_widen_all_layers():
    with torch.device("meta"):
        net, wider = TaskSwitchingUNet(), TaskSwitchingUNet(max_tasks=13)
    widened = 8 * (2 * 240 * 20 + 20**2 + 20) + 2 * 1_952 * 20
    assert num_parameters(wider) == num_parameters(net) + widened


def test_head_per_task_costs_one_output_convolution():
    with torch.device("meta"):
        net = TaskSwitchingUNet(head="per_task", max_tasks=13)
        net.add_task("thirteenth")
    assert {net.num_task_parameters(task) for task in net.task_names} == {4_000}


def test_decoder_and_skips_are_switched_and_nothing_else():
    net = TaskSwitchingUNet(TASKS, width=2, depth=2, entries_per_task=1)
    switched = {n for n, m in net.named_modules() if isinstance(m, SwitchedConv)}
    convs = {f"unet.decoder{i}.conv{j}" for i in (1, 2) for j in (1, 2)}
    assert switched == convs | {"skip_filters.0", "skip_filters.1", "bottleneck_filter"}
    assert {net.get_submodule(name).conv.kernel_size for name in convs} == {(5, 5, 5)}
    for name in switched - convs:
        assert net.get_submodule(name).conv.kernel_size == (1, 1, 1)
    norms = {n for n, m in net.named_modules() if isinstance(m, TaskNorm)}
    assert {name for name in norms if "decoder" in name} == {
        "unet.decoder1.up.norm",
        "unet.decoder2.up.norm",
    }


def test_the_encoder_does_not_know_the_task():
    torch.manual_seed(0)
    net = TaskSwitchingUNet(TASKS, **SMALL).eval()
    seen = []
    net.unet.bottleneck.register_forward_hook(lambda *args: seen.append(args[2]))
    signal = torch.randn(1, 1, 4, 4, 4)
    red, green = net(signal, 0), net(signal, 1)
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(red, green)


def test_smallest_patch_can_be_trained_on():
    """At depth 1 a patch of 2 voxels per side is one voxel at the bottleneck."""
    for samples in (1, 2):
        torch.manual_seed(0)
        net = TaskSwitchingUNet(TASKS, **SMALL).train()
        for norm in net.modules():  # batch normalization refuses one value per channel
            if isinstance(norm, TaskNorm) and samples == 1:
                norm.freeze()
        net(torch.randn(samples, 1, 2, 2, 2), 1).sum().backward()
        assert net.bottleneck_filter.film.weight.grad is not None


def test_identity_start_makes_all_tasks_alike():
    torch.manual_seed(0)
    net = TaskSwitchingUNet(TASKS, **SMALL, film_init="identity").eval()
    signal = torch.randn(1, 1, 4, 4, 4)
    assert torch.equal(net(signal, 0), net(signal, 2))


def test_new_task_gets_a_code_of_its_own_that_is_saved_and_changes_nothing_else():
    for codes in ("orthogonal", "gaussian"):
        torch.manual_seed(0)
        net = TaskSwitchingUNet(TASKS, **SMALL, codes=codes, max_tasks=4).eval()
        signal, labels = torch.randn(4, 1, 4, 4, 4), torch.arange(4)
        before = net(signal[:3], labels[:3])
        assert net.add_task("pink") == 3
        assert torch.equal(net(signal[:3], labels[:3]), before)
        assert "embedding.code_pink" in net.task_state("pink")
        assert "embedding.code_pink" not in net.task_state("red")
        rebuilt = TaskSwitchingUNet.from_architecture(net.architecture()).eval()
        rebuilt.load_state_dict(net.state_dict())
        assert torch.equal(rebuilt(signal, labels), net(signal, labels)), codes


def test_more_tasks_than_codes_are_refused():
    with pytest.raises(UserError, match="max_tasks 2: no codes for 3 tasks; build"):
        TaskSwitchingUNet(TASKS, **SMALL, max_tasks=2)
    net = TaskSwitchingUNet(TASKS, **SMALL, max_tasks=3, head="per_task")
    names = set(net.state_dict())
    with pytest.raises(UserError, match="max_tasks of at least 4"):
        net.add_task("pink")
    with pytest.raises(UserError, match="max_tasks of at least 4"):
        net.add_task("pink", init="red")
    assert set(net.state_dict()) == names
    assert net.task_names == TASKS


def test_unknown_option_is_refused():
    for options, message in (
        ({"codes": "random"}, "codes 'random': use 'orthogonal' or 'gaussian'"),
        ({"film_init": "zero"}, "film_init 'zero': use 'published' or 'identity'"),
        ({"head": "own"}, "head 'own': use 'shared' or 'per_task'"),
        ({"entries_per_task": 0}, "entries_per_task 0: use a positive number"),
    ):
        with pytest.raises(UserError, match=message):
            TaskSwitchingUNet(TASKS, **(SMALL | options))


def test_a_refused_start_of_the_head_changes_nothing():
    net = TaskSwitchingUNet(TASKS, **SMALL, max_tasks=4, head="per_task")
    names = set(net.state_dict())
    with pytest.raises(UserError, match="init 'gray'"):
        net.add_task("pink", init="gray")
    assert set(net.state_dict()) == names
    net.add_task("pink", init="red")
    assert net.task_names[-1] == "pink"


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
