import pytest
import torch

from continual_repmode.models.experts import EXPERTS
from continual_repmode.models.mode_conv import MoDEBlock, MoDEConv
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_norm import TaskNorm

TASKS = ("red", "green")


@pytest.fixture(params=["ZYX", "YX"])
def conv(request):
    torch.manual_seed(0)
    return MoDEConv(2, 3, TASKS, EXPERTS, request.param).double()


@pytest.mark.parametrize("extension", [None, "conv3", "conv7", "avg5_conv1"])
def test_each_sample_gets_the_experts_and_gates_of_its_task(conv, branch, extension):
    conv.add_task("blue", extension, use_extensions=(), gate_init="mean")
    labels = [0, 0, 1, 2]
    features = torch.randn(4, 2, 3, 6, 5, dtype=torch.float64)
    groups = TaskGroups(labels, (*TASKS, "blue"))
    result = conv.train()(features, groups)
    torch.testing.assert_close(conv.eval()(features, groups), result)
    for row, label in enumerate(labels):
        task = (*TASKS, "blue")[label]
        kinds = [*EXPERTS, *([extension] if extension and task == "blue" else [])]
        names = [*EXPERTS, *(["extension_blue"] if len(kinds) > 5 else [])]
        expected = sum(
            gate.view(1, -1, 1, 1, 1)
            * branch(kind, conv.experts[name].weight, features[row][None], conv.axes)
            for kind, name, gate in zip(kinds, names, conv.gate(task), strict=True)
        )
        torch.testing.assert_close(result[row][None], expected)


def test_use_extensions_brings_in_the_experts_of_those_tasks_in_that_order(conv):
    conv.add_task("blue", "conv3", use_extensions=(), gate_init="mean")
    conv.add_task("gold", "conv1", use_extensions=["blue"], gate_init="mean")
    conv.add_task("pink", None, use_extensions=["gold", "blue"], gate_init="mean")
    conv.add_task("cyan", "conv3", use_extensions=(), gate_init="mean")
    own = {task: tuple(conv.experts_of(task))[5:] for task in conv.gate.experts}
    assert own == {
        "red": (),
        "green": (),
        "blue": ("extension_blue",),
        "gold": ("extension_blue", "extension_gold"),
        "pink": ("extension_gold", "extension_blue"),
        "cyan": ("extension_cyan",),
    }


def test_a_new_expert_takes_the_dtype_and_mode_of_the_block(conv):
    conv.eval().add_task("blue", "conv3", use_extensions=(), gate_init="mean")
    expert = conv.experts["extension_blue"]
    assert expert.weight.dtype == torch.float64
    assert not expert.training


def test_block_applies_norm_and_relu_and_the_last_one_neither(conv):
    features = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64)
    groups = TaskGroups([0, 1], TASKS)
    plain = conv(features, groups)
    assert torch.equal(MoDEBlock(conv, None)(features, groups), plain)
    norm = TaskNorm(3).double().eval()
    with torch.no_grad():
        norm.running_mean.fill_(0.5)
    expected = ((plain - 0.5) / (1 + 1e-5) ** 0.5).clamp_min(0)
    result = MoDEBlock(conv, norm)(features, groups)
    torch.testing.assert_close(result, expected)
