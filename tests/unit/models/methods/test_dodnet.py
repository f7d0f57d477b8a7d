import pytest
import torch
import torch.nn.functional as F

from continual_repmode.errors import UserError
from continual_repmode.models.methods.dodnet import DoDNet, DynamicHead
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.unet3d import UNet3d
from continual_repmode.tasks import TASKS as PAPER_TASKS

TASKS = ("red", "green", "blue")


def test_extra_and_per_task_parameters():
    with torch.device("meta"):
        plain, net = UNet3d(), DoDNet()
        extra = sum(p.numel() for p in net.parameters())
        extra -= sum(p.numel() for p in plain.parameters())
        assert extra == (512 + 12 + 1) * 153 + 264 - 32 * 5**3 == 76_589
        assert {net.num_task_parameters(task) for task in PAPER_TASKS} == {153}
        net.add_task("thirteenth")
        assert net.num_task_parameters("thirteenth") == 153


@pytest.mark.parametrize(("axes", "out_channels"), [("ZYX", 1), ("YX", 2)])
def test_prediction_is_three_generated_convolutions_per_sample(axes, out_channels):
    torch.manual_seed(0)
    net = (
        DoDNet(
            TASKS, kernel_size=3, out_channels=out_channels, axes=axes, width=2, depth=2
        )
        .double()
        .eval()
    )
    seen = {}
    net.unet.bottleneck.register_forward_hook(
        lambda *args: seen.update(context=args[2])
    )
    net.unet.decoder1.register_forward_hook(lambda *args: seen.update(last=args[2]))
    labels = [0, 1, 2, 2]
    signal = torch.randn(4, 1, 4, 4, 8, dtype=torch.float64)
    prediction = net(signal, torch.tensor(labels))

    tensors = dict(net.named_parameters())
    for row, label in enumerate(labels):
        hidden = F.conv3d(
            seen["last"][row : row + 1],
            tensors["unet.output.conv.weight"],
            tensors["unet.output.conv.bias"],
        )
        values = tensors["head.controller.linear.weight"] @ seen["context"][row].mean(
            dim=(1, 2, 3)
        )
        values = values + tensors["head.controller.linear.bias"]
        values = values + tensors[f"head.controller.column_{TASKS[label]}"]
        assert len(values) == 64 + 64 + 8 * out_channels + 8 + 8 + out_channels
        kernels, biases = values[: -16 - out_channels], values[-16 - out_channels :]
        for index, outputs in enumerate((8, 8, out_channels)):
            kernel, kernels = kernels[: 8 * outputs], kernels[8 * outputs :]
            bias, biases = biases[:outputs], biases[outputs:]
            hidden = F.conv3d(hidden, kernel.reshape(outputs, 8, 1, 1, 1), bias)
            hidden = hidden.relu() if index < 2 else hidden
        torch.testing.assert_close(prediction[row : row + 1], hidden)


def test_encoder_and_decoder_do_not_know_the_task():
    torch.manual_seed(0)
    net = DoDNet(TASKS, kernel_size=3, width=2, depth=1).eval()
    seen = []
    net.unet.output.register_forward_hook(lambda *args: seen.append(args[2]))
    signal = torch.randn(1, 1, 4, 4, 4)
    red, green = net(signal, 0), net(signal, 1)
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(red, green)


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
