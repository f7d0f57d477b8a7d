from functools import partial

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models import UNet3d, plain_unit
from continual_repmode.models.methods.multinet import MultiNet

TASKS = ("red", "green", "blue")


@pytest.fixture
def net():
    torch.manual_seed(0)
    return MultiNet(TASKS, width=2, depth=2, kernel_size=3).double()


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_each_task_of_the_paper_costs_one_plain_network():
    for options, per_task in (
        ({}, 100_152_768),
        ({"kernel_size": 3}, 23_276_864),
        # 2,945 biases of 'same' convolutions, 480 each of down- and up-sampling
        ({"kernel_size": 3, "bias": True}, 23_276_864 + 2_945 + 2 * 480),
    ):
        with torch.device("meta"):
            net = MultiNet(**options)
        assert count(net) == 12 * per_task
        assert {net.num_task_parameters(task) for task in net.task_names} == {per_task}


@pytest.mark.parametrize("mode", [True, False])
def test_it_equals_its_member_networks_each_on_the_samples_of_its_task(
    net, make_signal, mode
):
    signal, labels = make_signal(5, 1, 4, 8, 4), torch.tensor([2, 0, 1, 2, 0])
    net(signal, labels)  # telling running statistics
    members = {}
    for label, task in enumerate(TASKS):
        unit = partial(plain_unit, kernel_size=3)
        members[label] = UNet3d(width=2, depth=2, unit=unit).double().train(mode)
        start = f"nets.net_{task}."
        members[label].load_state_dict(
            {
                name.removeprefix(start): tensor
                for name, tensor in net.state_dict().items()
                if name.startswith(start)
            }
        )
    result = net.train(mode)(signal, labels)
    for label, member in members.items():
        rows = labels == label
        torch.testing.assert_close(result[rows], member(signal[rows]))


def test_only_the_networks_present_are_run_and_trained(net, make_signal):
    before = {name: b.clone() for name, b in net.named_buffers()}
    net(make_signal(2, 1, 4, 8, 4), torch.tensor([0, 2])).sum().backward()
    for name, parameter in net.named_parameters():
        assert (parameter.grad is None) == ("net_green" in name), name
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, before[name]) == ("net_green" in name), name


def test_fnet_has_biases_in_every_convolution():
    net = MultiNet(["red"], width=2, depth=2, kernel_size=3, bias=True)
    convolutions = [m for m in net.modules() if hasattr(m, "kernel_size")]
    assert len(convolutions) == 2 * 5 + 2 * 2 + 1
    assert all(conv.bias is not None for conv in convolutions)
    plain = MultiNet(["red"], width=2, depth=2)
    assert all(m.bias is None for m in plain.modules() if hasattr(m, "kernel_size"))


def test_unknown_starts_and_the_name_fresh_are_refused(net):
    with pytest.raises(UserError, match=r"init 'pink'"):
        net.add_task("gold", init="pink")
    with pytest.raises(UserError, match="reserved"):
        net.add_task("fresh")
    assert net.task_names == TASKS
    assert net.architecture()["extensions"] == []
