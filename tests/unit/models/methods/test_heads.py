import pytest
import torch
import torch.nn.functional as F

from continual_repmode.models.methods.heads import TaskHeads
from continual_repmode.models.task_groups import TaskGroups

TASKS = ("red", "green", "blue")


@pytest.mark.parametrize("bias", [False, True])
def test_heads_are_one_convolution_of_which_each_sample_takes_its_channels(
    make_signal, bias
):
    torch.manual_seed(0)
    heads = TaskHeads(4, TASKS, 3, "ZYX", out_channels=2, bias=bias).double()
    parameters = dict(heads.named_parameters())
    weight = torch.cat([parameters[f"head_{task}.weight"] for task in TASKS])
    offset = [parameters[f"head_{t}.bias"] for t in TASKS] if bias else None
    features, labels = make_signal(4, 4, 3, 4, 5), [2, 0, 1, 2]
    everything = F.conv3d(features, weight, offset and torch.cat(offset), padding=1)
    expected = torch.stack(
        [everything[row, 2 * k : 2 * k + 2] for row, k in enumerate(labels)]
    )
    groups = TaskGroups(labels, TASKS)
    result = groups.unsort(heads(groups.sort(features), groups))
    torch.testing.assert_close(result, expected)


def test_momentum_does_not_move_an_absent_head(make_signal):
    heads = TaskHeads(2, TASKS, 1, "ZYX").double()
    optimizer = torch.optim.Adam(heads.parameters())
    features = make_signal(1, 2, 4, 4, 4)

    def step(label):
        optimizer.zero_grad()
        heads(features, TaskGroups([label], TASKS)).square().sum().backward()
        optimizer.step()

    step(1)
    green, red = heads.head_green.weight.clone(), heads.head_red.weight.clone()
    step(0)
    assert torch.equal(heads.head_green.weight, green)
    assert not torch.equal(heads.head_red.weight, red)


def test_heads_have_no_bias_and_extend_over_the_axes():
    for axes, size in (("ZYX", (5, 5, 5)), ("YX", (1, 5, 5))):
        heads = TaskHeads(3, TASKS, 5, axes)
        shapes = {name: tuple(p.shape) for name, p in heads.named_parameters()}
        assert shapes == {f"head_{task}.weight": (1, 3, *size) for task in TASKS}
