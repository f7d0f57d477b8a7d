import pytest
import torch
from torch import nn

from continual_repmode.errors import UserError
from continual_repmode.models import (
    MergedTasks,
    RepModeUNet,
    UNet3d,
    reparameterize,
)


@pytest.mark.parametrize("axes", ["ZYX", "YX"])
def test_plain_network_predicts_like_each_task(make_net, make_signal, axes):
    net = make_net(axes=axes)
    net.add_task("gold", expert="conv7", private_bn=True)
    for norm in (m for n, m in net.named_modules() if n.endswith("private_gold")):
        norm.running_mean.add_(0.2)
    signal = make_signal(2, 1, 4, 8, 4)
    for label, task in enumerate(net.task_names):
        plain = reparameterize(net, task)
        torch.testing.assert_close(
            plain(signal), net(signal, label), rtol=1e-11, atol=1e-12
        )


def test_it_is_ordinary_convolutions_with_folded_biases(make_net):
    plain = reparameterize(make_net(), 0)
    assert type(plain) is UNet3d
    leaves = [m for m in plain.modules() if not list(m.children())]
    ordinary = {nn.Conv3d, nn.ConvTranspose3d}
    assert {next(k for k in type(leaf).mro() if k in ordinary) for leaf in leaves} == (
        ordinary
    )
    assert all(leaf.bias is not None for leaf in leaves if leaf.out_channels > 1)
    assert not plain.training


def test_other_sizes_are_treated_alike(make_net, make_signal):
    net, signal = make_net(), make_signal(1, 1, 5, 6, 3)
    torch.testing.assert_close(reparameterize(net, "blue")(signal), net(signal, 2))


def test_the_network_is_left_alone_and_shares_no_memory(make_net):
    net = make_net().train()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    state = torch.get_rng_state()
    plain = reparameterize(net, 1)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
    assert net.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_network_of_the_paper_becomes_a_plain_one_of_its_size():
    with torch.device("meta"):
        plain = reparameterize(RepModeUNet(), "dna")
    biases = sum(p.numel() for n, p in plain.named_parameters() if n.endswith("bias"))
    total = sum(p.numel() for p in plain.parameters())
    assert total + biases == 100_152_768  # one bias where there was scale and shift


def test_many_tasks_come_out_as_channels_in_the_order_given(make_net, make_signal):
    net, signal = make_net(), make_signal(2, 1, 4, 8, 8)
    with torch.no_grad():
        found = MergedTasks(net, ["blue", 0])(signal)
        for channel, task in enumerate([2, 0]):
            torch.testing.assert_close(
                found[:, channel : channel + 1], net(signal, task)
            )
    assert len(MergedTasks(net).networks) == len(net.task_names)


def test_unknown_tasks_are_refused(make_net):
    with pytest.raises(UserError, match="'pink'"):
        reparameterize(make_net(), "pink")
