import json

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models import EXPERTS, RepModeUNet
from continual_repmode.tasks import TASKS as PAPER_TASKS


def test_network_of_the_paper_has_the_published_size():
    with torch.device("meta"):
        net = RepModeUNet()
        larger = RepModeUNet([*PAPER_TASKS, "thirteenth"])
    assert sum(p.numel() for p in net.parameters()) == 123_877_633
    assert sum(p.numel() for p in larger.parameters()) == 123_877_633 + 14_725
    assert {net.num_task_parameters(task) for task in PAPER_TASKS} == {14_725}
    assert len(net.blocks()) == 19
    assert net.task_names == PAPER_TASKS
    assert net.divisor == (16, 16, 16)


def test_parameter_names_are_stable():
    names = [
        name for name, _ in RepModeUNet(["red"], 1, 1, ["conv1"]).named_parameters()
    ]
    mode = ["conv.experts.conv1.weight", "conv.gate.linear.weight"]
    mode += ["conv.gate.linear.bias"]
    norm = ["norm.weight", "norm.bias"]
    pair = [f"{conv}.{n}" for conv in ("conv1", "conv2") for n in mode + norm]
    down = [f"down.{n}" for n in ["conv.weight", *norm]]
    up = [f"up.{n}" for n in ["conv.weight", *norm]]
    assert names == (
        [f"unet.encoder1.{n}" for n in pair + down]
        + [f"unet.bottleneck.{n}" for n in pair]
        + [f"unet.decoder1.{n}" for n in up + pair]
        + [f"unet.output.{n}" for n in mode]
    )


@pytest.mark.parametrize("axes", ["ZYX", "YX"])
@pytest.mark.parametrize(
    "experts", [EXPERTS, ("conv3", "conv1", "conv1", "avg7_conv1")]
)
def test_mixed_batch_in_evaluation_mode_is_the_explicit_network(
    make_net, make_signal, explicit, axes, experts
):
    net = make_net(axes=axes, experts=experts)
    signal, labels = make_signal(4, 1, 4, 8, 4), [2, 0, 1, 0]
    expected = explicit(net, training=False)(signal, labels)
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            torch.testing.assert_close(net(signal, torch.tensor(labels)), expected)


def test_mixed_batch_in_training_mode_is_the_explicit_network_with_its_gradients(
    make_net, make_signal, explicit
):
    net = make_net().train()
    signal, labels = make_signal(4, 1, 4, 8, 4), [2, 0, 2, 1]
    weights = make_signal(4, 1, 4, 8, 4, seed=9)
    parameters = list(net.parameters())
    expected = explicit(net, training=True)(signal, labels)
    result = net(signal, torch.tensor(labels))
    torch.testing.assert_close(result, expected)
    ours = torch.autograd.grad((result * weights).sum(), parameters)
    theirs = torch.autograd.grad((expected * weights).sum(), parameters)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-6, atol=1e-9)


def test_cached_kernels_follow_training(make_net, make_signal, explicit):
    net, signal = make_net(), make_signal(2, 1, 4, 4, 4)
    with torch.no_grad():
        before = net(signal, 0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    net(signal, 0).square().mean().backward()
    optimizer.step()
    with torch.no_grad():
        after = net(signal, 0)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, explicit(net, training=False)(signal, [0, 0]))


def test_wrong_input_is_refused(make_net, make_signal):
    for shape, labels, message in (
        ((2, 1, 4, 4, 4), 3, r"label 3 is out of range"),
        ((2, 1, 4, 4, 4), torch.tensor([0]), r"task_labels has shape \(1,\)"),
        ((2, 2, 4, 4, 4), 0, r"signal has shape \(2, 2, 4, 4, 4\)"),
        ((2, 4, 4, 4), 0, r"signal has shape \(2, 4, 4, 4\)"),
    ):
        with pytest.raises(UserError, match=message):
            make_net()(make_signal(*shape), labels)


def test_task_names_and_labels_translate(make_net):
    net = make_net()
    assert [net.task_label(name) for name in net.task_names] == [0, 1, 2]
    assert [net.task_name(task) for task in (0, "blue")] == ["red", "blue"]
    with pytest.raises(UserError, match=r"'pink' is unknown.*red, green, blue"):
        net.task_label("pink")
    with pytest.raises(UserError, match="label -1 is out of range"):
        net.task_name(-1)


def test_gating_tables_come_in_network_order_with_weights_that_sum_to_one(make_net):
    net = make_net(depth=1)
    tables = net.gating_weights()
    blocks = ["encoder1.conv1", "encoder1.conv2", "bottleneck.conv1"]
    blocks += ["bottleneck.conv2", "decoder1.conv1", "decoder1.conv2", "output"]
    expected = [(block, task) for block in blocks for task in net.task_names]
    assert [(table.block, table.task) for table in tables] == expected
    for table in tables:
        assert table.experts == EXPERTS
        torch.testing.assert_close(
            table.weights.sum(0), torch.ones(table.weights.shape[1]).double()
        )
    tables[0].weights.zero_()
    assert net.gating_weights()[0].weights.abs().sum() > 0


def test_task_state_holds_what_the_task_uses_and_is_a_copy(make_net):
    net = make_net(depth=1, experts=["conv1"])
    state = net.task_state("green")
    mode = ["experts.conv1", "gates"]
    norm = ["norm.bias", "norm.running_mean", "norm.running_var", "norm.weight"]
    places = ["encoder1", "bottleneck", "decoder1"]
    pairs = [f"{p}.conv{i}.{n}" for p in places for i in (1, 2) for n in mode + norm]
    sampling = ["encoder1.down", "decoder1.up"]
    pairs += [f"{p}.{n}" for p in sampling for n in ["weight", *norm]]
    assert sorted(state) == sorted(pairs + [f"output.{n}" for n in mode])
    for tensor in state.values():
        tensor.zero_()
    assert net.task_state("green")["encoder1.down.weight"].abs().sum() > 0


def test_architecture_is_json_and_rebuilds_the_structure(make_net):
    net = make_net(axes="YX", experts=("conv3", "conv1", "conv1"), out_channels=2)
    net.add_task("gold", expert="conv7", private_bn=True)
    net.add_task("pink", expert=None, use_extensions=True, gate_init="gold")
    net.add_task("cyan", freeze=False)
    text = json.dumps(net.architecture())
    other = RepModeUNet.from_architecture(json.loads(text))
    assert other.architecture() == net.architecture()
    assert other.task_names == net.task_names
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (net, other)]
    assert shapes[0] == shapes[1]
    trainable = [
        {k: p.requires_grad for k, p in n.named_parameters()} for n in (net, other)
    ]
    assert trainable[0] == trainable[1]
    other.double().load_state_dict(net.state_dict())
    signal = torch.randn(1, 1, 2, 4, 4, dtype=torch.float64)
    assert torch.equal(other.eval()(signal, 4), net(signal, 4))


def test_foreign_and_incomplete_architectures_are_refused(make_net):
    architecture = make_net().architecture()
    incomplete = {k: v for k, v in architecture.items() if k != "num_frozen_tasks"}
    for changed, message in (
        (architecture | {"network": "UNet3d"}, "'UNet3d', not RepModeUNet"),
        (architecture | {"extensions": [{"name": "x"}]}, "option of an extension"),
        (incomplete, "num_frozen_tasks"),
    ):
        with pytest.raises(UserError, match=f"architecture: .*{message}"):
            RepModeUNet.from_architecture(changed)
