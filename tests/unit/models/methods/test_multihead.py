import pytest
import torch
import torch.nn.functional as F

from continual_repmode.errors import UserError
from continual_repmode.models.methods.multihead import MultiHeadUNet

TASKS = ("red", "green", "blue")
PARTS = ("decoder", "output")


@pytest.fixture(params=PARTS)
def net(request):
    torch.manual_seed(0)
    net = MultiHeadUNet(TASKS, part=request.param, kernel_size=3, width=2, depth=2)
    return net.double()


def test_networks_of_the_paper_have_the_expected_sizes():
    for part, kernel_size, total, per_task in (
        ("decoder", 5, 474_587_488, 34_039_520),
        ("decoder", 3, 4_211_360 + 10_618_880 + 12 * 8_446_624, 8_446_624),
        ("output", 5, 100_196_768, 4_000),
        ("output", 3, 23_276_864 + 11 * 864, 864),
    ):
        with torch.device("meta"):
            net = MultiHeadUNet(part=part, kernel_size=kernel_size)
        assert sum(p.numel() for p in net.parameters()) == total
        assert {net.num_task_parameters(task) for task in net.task_names} == {per_task}


def explicit(net, signal, task):
    """Predict one sample in evaluation mode by formulas over the named tensors."""
    t = dict(net.named_parameters()) | dict(net.named_buffers())

    def cbr(place, x, conv=F.conv3d, **options):
        x = conv(x, t[f"{place}.conv.weight"], **options)
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.relu(F.batch_norm(x, *(t[f"{place}.norm.{key}"] for key in keys)))

    def pair(level, x):
        return cbr(f"{level}.conv2", cbr(f"{level}.conv1", x, padding=1), padding=1)

    shared, own = "unet.", f"parts.decoder_{task}."
    if f"{own}output.conv.weight" in t:
        decoder, head = own, t[f"{own}output.conv.weight"]
    else:
        decoder, head = shared, t[f"parts.head_{task}.weight"]
    first = pair(f"{shared}encoder1", signal)
    second = pair(f"{shared}encoder2", cbr(f"{shared}encoder1.down", first, stride=2))
    x = pair(f"{shared}bottleneck", cbr(f"{shared}encoder2.down", second, stride=2))
    for level, skip in ((2, second), (1, first)):
        place = f"{decoder}decoder{level}"
        x = cbr(f"{place}.up", x, conv=F.conv_transpose3d, stride=2)
        x = pair(place, torch.cat([skip, x], 1))
    return F.conv3d(x, head, padding=1)


def test_a_mixed_batch_equals_a_loop_over_its_samples_with_its_gradients(
    net, make_signal
):
    signal, labels = make_signal(5, 1, 4, 8, 4), torch.tensor([2, 0, 1, 0, 2])
    weights = make_signal(5, 1, 4, 8, 4, seed=9)
    net(signal, labels)  # telling running statistics
    result = net.eval()(signal, labels)
    expected = torch.cat(
        [
            explicit(net, signal[row : row + 1], TASKS[label])
            for row, label in enumerate(labels)
        ]
    )
    torch.testing.assert_close(result, expected)
    parameters = list(net.parameters())
    ours = torch.autograd.grad((result * weights).sum(), parameters)
    theirs = torch.autograd.grad((expected * weights).sum(), parameters)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference)


def test_what_a_task_owns_is_its_part(net):
    first = {name.split(".")[1] for name, _ in net.named_parameters() if "_red" in name}
    assert first == (
        {"decoder_red"} if hasattr(net.parts, "decoder_red") else {"head_red"}
    )
    prefixes = {
        name.split(".")[1] for name, _ in net.named_parameters() if "_red" not in name
    }
    assert {"encoder1", "encoder2", "bottleneck"} <= prefixes
    assert ("decoder1" in prefixes) == hasattr(net.parts, "head_red")


def test_training_a_copy_leaves_its_model_alone(net, make_signal):
    signal = make_signal(2, 1, 4, 8, 4)
    new = net.add_task("gold", init="blue")
    own = [p for n, p in net.named_parameters() if "_blue" in n]
    before = [p.clone() for p in own]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(signal, new).square().sum().backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(own, before, strict=True))


def test_other_parts_are_refused():
    with pytest.raises(UserError, match=r"part 'head': use 'decoder' or 'output'"):
        MultiHeadUNet(TASKS, part="head", width=2, depth=2)
