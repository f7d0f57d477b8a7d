import pytest
import torch
import torch.nn.functional as F

from continual_repmode.errors import UserError
from continual_repmode.models.methods.dodnet import DynamicHead
from continual_repmode.models.task_groups import TaskGroups

TASKS = ("red", "green", "blue")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_head_equals_one_grouped_convolution_over_the_batch(layout):
    """The published way: samples become channel groups; here it is a matrix product."""
    torch.manual_seed(0)
    head = DynamicHead(5, TASKS, out_channels=1).double()
    groups = TaskGroups([0, 1, 1, 2], TASKS)
    hidden = torch.randn(4, 8, 2, 3, 4, dtype=torch.float64)
    hidden = hidden.to(memory_format=layout).requires_grad_()
    context = torch.randn(4, 5, 1, 2, 2, dtype=torch.float64)
    actual = head(hidden, context, groups)

    values = head.controller(context.flatten(2).mean(2), groups)
    assert values.shape == (4, 153)
    w1, w2, w3, b1, b2, b3 = values.split([64, 64, 8, 8, 8, 1], dim=1)
    features = hidden.reshape(1, 32, 2, 3, 4)
    for weight, bias in ((w1, b1), (w2, b2), (w3, b3)):
        kernel = weight.reshape(-1, 8, 1, 1, 1)
        features = F.conv3d(features, kernel, bias.flatten(), groups=4)
        if weight is not w3:
            features = features.relu()
    expected = features.reshape(4, 1, 2, 3, 4)
    torch.testing.assert_close(actual, expected)

    inputs = [hidden, *head.parameters()]
    for mine, published in zip(
        torch.autograd.grad(actual.square().sum(), inputs, retain_graph=True),
        torch.autograd.grad(expected.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, published)


def test_no_output_channel_is_refused():
    with pytest.raises(UserError, match="out_channels 0: use a positive number"):
        DynamicHead(5, TASKS, out_channels=0)
