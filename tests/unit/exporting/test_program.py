import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.exporting.program import AnySize, trace
from continual_repmode.models import RepModeUNet
from continual_repmode.models.deploy import OneTask, deploy
from continual_repmode.models.methods.condnet import CondNet
from continual_repmode.models.methods.dodnet import DoDNet
from continual_repmode.models.methods.multihead import MultiHeadUNet
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.models.methods.pipofan import PipoFan
from continual_repmode.models.methods.tgnet import TGNet
from continual_repmode.models.methods.tsn import TaskSwitchingUNet

SIDES = [(4, 8, 8), (5, 7, 9), (1, 1, 1), (3, 12, 17), (16, 2, 4)]


@torch.no_grad()
def predictions(traced, net, task, shape):
    signal = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return traced.program.module()(signal), OneTask(net, task)(signal)


def assert_same(got, expected):
    scale = float(expected.abs().max())
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize(("task", "axes"), [("dna", "YX"), ("lysosome", "ZYX")])
def test_one_traced_graph_predicts_volumes_of_any_size_and_number(make_net, axes, task):
    net = make_net(depth=2, axes=axes)
    traced = trace(net, task)
    assert traced.any_batch
    for batch in (1, 3):
        for sides in SIDES:
            got, expected = predictions(traced, net, task, (batch, 1, *sides))
            assert_same(got, expected)
    # what is traced of RepMode is one plain network
    names = " ".join(traced.program.state_dict)
    for part in ("gate", "expert", "norm", "extension", "dna", "nucleolus"):
        assert part not in names
    sizes = sorted(tensor.shape for tensor in deploy(net, task).state_dict().values())
    assert sorted(t.shape for t in traced.program.state_dict.values()) == sizes
    called = " ".join(str(node.target) for node in traced.program.graph.nodes)
    for operation in ("batch_norm", "softmax", "einsum", "assert_scalar"):
        assert operation not in called


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (MultiHeadUNet, {}), (CondNet, {}), (TaskSwitchingUNet, {}), (DoDNet, {}),
        (TGNet, {}), (RepModeUNet, {"gate_input": "features"}),
    ],
)  # fmt: skip
def test_other_networks_are_traced_for_one_volume_at_a_time(make_net, network, options):
    net = make_net(network, depth=1, **options)
    traced = trace(net, "nucleolus")
    assert not traced.any_batch
    for sides in SIDES:
        got, expected = predictions(traced, net, "nucleolus", (1, 1, *sides))
        assert_same(got, expected)


def test_tracing_leaves_the_network_as_it_was_and_other_networks_out(make_net):
    net = make_net(MultiNet, depth=1)
    before = {n: (t.clone(), t.stride()) for n, t in net.state_dict().items()}
    traced = trace(net, "dna")
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name][0])
        assert tensor.stride() == before[name][1]
    own = net.nets.of("dna").state_dict()
    counters = sum("num_batches_tracked" in name for name in own)
    sizes = sum(tensor.numel() for tensor in traced.program.state_dict.values())
    assert sizes == sum(tensor.numel() for tensor in own.values()) - counters
    for sides in SIDES:
        assert_same(*predictions(traced, net, "dna", (1, 1, *sides)))


def test_a_network_that_cannot_take_small_volumes_is_refused(make_net):
    with pytest.raises(UserError, match=r"'dna': a PipoFan cannot be traced for"):
        trace(make_net(PipoFan, depth=1), "dna")


def test_an_unknown_task_is_refused(make_net):
    with pytest.raises(UserError, match="'golgi' is unknown to this network"):
        trace(make_net(depth=1), "golgi")


@torch.no_grad()
def test_mirroring_as_an_index_repeats_the_border_and_goes_back_and_forth():
    class Recorder(torch.nn.Module):
        def forward(self, signal):
            self.seen = signal
            return signal

    recorder = Recorder()
    signal = torch.tensor([[[[[1.0, 2.0, 3.0]]]]])
    result = AnySize(recorder, (1, 1, 8))(signal)
    assert recorder.seen.flatten().tolist() == [1, 2, 3, 3, 2, 1, 1, 2]
    assert torch.equal(result, signal)
