"""New tasks as adapters beside frozen convolutions: the old ones stay to the bit."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F

from continual_repmode.errors import UserError
from continual_repmode.models import (
    deploy,
    load_model,
    reparameterize,
    save_model,
)
from continual_repmode.models.methods.condnet import CondNet
from continual_repmode.models.methods.multihead import MultiHeadUNet
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.models.networks import rebuild
from continual_repmode.models.unet3d import UNet3d

TASKS = ("red", "green")
NETWORKS = {
    "las": (MultiHeadUNet, {"part": "output"}),
    "dec": (MultiHeadUNet, {"part": "decoder"}),
    "las_private": (MultiHeadUNet, {"part": "output", "private_bn": True}),
    "dec_private": (MultiHeadUNet, {"part": "decoder", "private_bn": True}),
    "fnet": (MultiNet, {"bias": True}),
}
PRIVATE = ("las_private", "dec_private")
KINDS = ("none", "low_rank2", "residual", "grouped")


def build(name, width=2, **options):
    """Make a small float64 network in evaluation mode with telling statistics."""
    torch.manual_seed(0)
    network, method = NETWORKS[name]
    net = network(TASKS, width=width, depth=1, kernel_size=3, **method | options)
    net.double()
    generator = torch.Generator().manual_seed(7)
    signal = torch.randn(6, 1, 4, 4, 4, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(3):
            net(signal, torch.tensor([0, 1, 1, 0, 1, 0]))
    return net.eval()


@pytest.fixture(params=NETWORKS)
def name(request):
    return request.param


@pytest.mark.parametrize(
    ("name", "kind", "optimizer"),
    [
        *(("las", kind, "adamw") for kind in KINDS),
        *((name, "low_rank2", "sgd") for name in NETWORKS),
        ("dec", "none", "adamw"), ("dec", "grouped", "adamw"),
        ("las_private", "residual", "adamw"), ("dec_private", "grouped", "adamw"),
        ("fnet", "residual", "adamw"), ("fnet", "none", "adamw"),
    ],
)  # fmt: skip
def test_old_tasks_are_bit_identical_after_training_new_ones(
    name, kind, optimizer, tmp_path, extending
):
    net, optimizer = build(name), getattr(extending, optimizer)
    extending.train(net, 1, optimizer)  # leaves gradients and momentum behind
    before = extending.snapshot(net, TASKS)
    net.freeze()
    extending.assert_unchanged(net, before)
    first = net.add_task("gold", init="green", adapter=kind)
    extending.assert_unchanged(net, before)
    extending.train(net, first, optimizer)
    extending.assert_unchanged(net, before)

    old = (*TASKS, "gold")
    before = extending.snapshot(net, old)
    net.freeze()
    second = net.add_task("pink", init="gold", adapter=kind)
    third = net.add_task("cyan", init="red", adapter=kind)
    untrained = extending.snapshot(net, ("pink", "cyan"))
    extending.train(net, second, optimizer)
    extending.train(net, third, optimizer)
    extending.assert_unchanged(net, before)
    for task, (_, prediction, _) in extending.snapshot(net, ("pink", "cyan")).items():
        assert not torch.equal(prediction, untrained[task][1])

    save_model(net, tmp_path / "net.safetensors")
    loaded = load_model(tmp_path / "net.safetensors")
    assert loaded.architecture() == net.architecture()
    extending.assert_unchanged(loaded, extending.snapshot(net, net.task_names))
    extending.train(loaded, second, optimizer)
    extending.assert_unchanged(loaded, before)


def test_a_new_task_starts_from_exactly_what_another_predicts(
    name, make_signal, extending
):
    for kind in KINDS:
        net, signal = build(name), make_signal(2, 1, 4, 5, 4)
        net.freeze()
        gold = net.add_task("gold", init="green", adapter=kind)
        assert torch.equal(net(signal, gold), net(signal, 1)), kind
        extending.train(net, gold, steps=1)
        assert not torch.allclose(net(signal, gold), net(signal, 1)), kind
        net.freeze()
        pink = net.add_task("pink", init="gold", adapter=kind)
        assert torch.equal(net(signal, pink), net(signal, gold)), kind


def explicit(net, signal, task, start):
    """Predict an adapted task in evaluation mode by formulas over named tensors."""
    t = net.state_dict()
    kind = net.adapter_kind(task)

    def place_of(place):
        if isinstance(net, MultiNet):
            return f"nets.net_{start}.{place}"
        own = "decoder" in place or place == "output"
        shared = not own or f"parts.head_{start}.weight" in t
        return f"unet.{place}" if shared else f"parts.decoder_{start}.{place}"

    def dense(weight, channels):
        kernel = weight.new_zeros(channels, channels, *weight.shape[2:])
        group = weight.shape[1]
        for o in range(channels):
            kernel[o, o // group * group :][:group] = weight[o]
        return kernel

    def adapted(unit, x, y):
        own = f"{unit}.adapter_{task}"
        if kind == "residual":
            return y + F.conv3d(x, t[f"{own}.expert.weight"])
        if kind == "grouped":
            spatial = dense(t[f"{own}.spatial.weight"], y.shape[1])
            pointwise = dense(t[f"{own}.pointwise.weight"], y.shape[1])
            return y + F.conv3d(y, spatial, padding=1) + F.conv3d(y, pointwise)
        if kind.startswith("low_rank"):
            outer, inner = t[f"{own}.expert.outer"], t[f"{own}.expert.inner"]
            return y + F.conv3d(x, torch.tensordot(outer, inner, 1), padding=1)
        return y

    def unit(place, x, conv=F.conv3d, **options):
        at = place_of(place)
        y = conv(x, t[f"{at}.conv.weight"], t.get(f"{at}.conv.bias"), **options)
        if "conv" in place:
            y = adapted(at, x, y)
        keys = ("running_mean", "running_var", "weight", "bias")
        own = [t[f"{at}.norm.private_{task}.{key}"] for key in keys]
        return F.relu(F.batch_norm(y, *own))

    def pair(level, x):
        x = unit(f"{level}.conv1", x, padding=1)
        return unit(f"{level}.conv2", x, padding=1)

    skip = pair("encoder1", signal)
    x = pair("bottleneck", unit("encoder1.down", skip, stride=2))
    x = torch.cat([skip, unit("decoder1.up", x, conv=F.conv_transpose3d, stride=2)], 1)
    x = pair("decoder1", x)
    head = f"{place_of('output')}.head_{task}"
    if f"parts.head_{task}.weight" in t:
        head = f"parts.head_{task}"
    return F.conv3d(x, t[f"{head}.weight"], t.get(f"{head}.bias"), padding=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_task_is_the_explicit_formula_in_a_mixed_batch_too(
    name, kind, make_signal, extending
):
    net, signal = build(name, width=8), make_signal(5, 1, 4, 6, 4)
    net.freeze()
    extending.train(net, net.add_task("gold", init="green", adapter=kind))
    extending.train(net, net.add_task("pink", init="red", adapter=kind))
    labels = [2, 1, 0, 3, 2]
    with torch.no_grad():
        mixed = net(signal, torch.tensor(labels))
        for row, label in enumerate(labels):
            alone = net(signal[row][None], label)
            torch.testing.assert_close(mixed[row : row + 1], alone)
        for task, start, row in (("gold", "green", 0), ("pink", "red", 3)):
            expected = explicit(net, signal[row][None], task, start)
            torch.testing.assert_close(mixed[row][None], expected)


def test_only_what_was_added_can_be_trained_and_is_counted(name):
    net = build(name)
    net.freeze()
    assert not any(parameter.requires_grad for parameter in net.parameters())
    total = net.num_parameters()
    red = net.num_task_parameters("red")
    net.add_task("gold", init="red", adapter="low_rank2")
    trainable = [n for n, p in net.named_parameters() if p.requires_grad]
    own = ("adapter_gold", "private_gold", "head_gold")
    assert all(any(part in n for part in own) for n in trainable)
    assert all(any(part in n for n in trainable) for part in own)
    added = net.num_task_parameters("gold")
    assert net.num_parameters() == total + added
    assert added == sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert net.num_task_parameters("red") == red


def test_what_a_task_costs():
    """Two convolutions in encoder, bottleneck and decoder, which joins the skip."""
    convs = [(1, 8), (8, 8), (8, 16), (16, 16), (16, 8), (8, 8)]
    norms = 2 * (8 + 8 + 8 + 16 + 16 + 8 + 8 + 8)  # with those that sample
    for kind, cost in {
        "none": 0,
        "low_rank4": sum(4 * (27 * i + o) for i, o in convs),
        "residual": sum(i * o for i, o in convs),
        "grouped": sum(o * (27 * 4 + 8) for _, o in convs),
    }.items():
        for network, method in (*NETWORKS.values(), (MultiNet, {"bias": False})):
            with torch.device("meta"):
                net = network(TASKS, width=8, depth=1, kernel_size=5, **method)
                net.add_task("gold", init="red", adapter=kind)
            head = 8 * 125 + method.get("bias", False)
            assert net.num_task_parameters("gold") == norms + head + cost, kind


def test_the_state_of_an_adapted_task_is_what_it_uses(name, make_signal, extending):
    """If anything else is changed, the task predicts the same; if any of it, not."""
    net, signal = build(name, width=8), make_signal(2, 1, 4, 6, 4)
    net.freeze()
    gold = net.add_task("gold", init="green", adapter="residual")
    extending.train(net, gold, steps=1)
    extending.train(net, net.add_task("pink", init="green", adapter="residual"))
    expected = net(signal, gold)
    state = net.task_state("gold")
    assert not any("pink" in key or "red" in key for key in state)
    for key, tensor in net.state_dict().items():
        if "num_batches_tracked" in key:
            continue
        kept = tensor.clone()
        tensor.add_(0.5)
        assert torch.equal(net(signal, gold), expected) == (key not in state), key
        tensor.copy_(kept)


def test_only_the_new_norms_move_while_training_and_no_rows_of_others(
    name, make_signal
):
    net = build(name).train()
    gold = net.add_task("gold", init="red", adapter="low_rank2")
    nets, signal = [net, copy.deepcopy(net)], make_signal(4, 1, 4, 4, 4)
    mixed = nets[0](signal, torch.tensor([gold, 0, gold, 0]))
    apart = torch.empty_like(mixed)
    apart[[0, 2]] = nets[1](signal[[0, 2]], gold)
    apart[[1, 3]] = nets[1](signal[[1, 3]], 0)
    torch.testing.assert_close(mixed, apart)
    for one, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", ["none", "low_rank2", "residual"])
def test_parallel_adapters_fold_into_a_plain_network(
    name, kind, make_signal, extending
):
    network, method = NETWORKS[name]
    for kernel_size in (1, 5):
        torch.manual_seed(0)
        size = {"width": 2, "depth": 1, "kernel_size": kernel_size}
        net = network(TASKS, **size, **method).double()
        extending.train(net, 0, steps=1)
        net.freeze()
        extending.train(net, net.add_task("gold", init="red", adapter=kind))
        signal = make_signal(2, 1, 3, 6, 5)
        plain = deploy(net, "gold")
        assert type(plain) is UNet3d
        assert not any("adapter" in key or "norm" in key for key in plain.state_dict())
        for folded, label in ((plain, 2), (reparameterize(net, "red"), 0)):
            torch.testing.assert_close(
                folded(signal), net(signal, label), rtol=1e-11, atol=1e-12
            )


def test_grouped_adapters_do_not_fold_and_run_as_they_are(name, make_signal, extending):
    net, signal = build(name), make_signal(2, 1, 3, 6, 5)
    net.freeze()
    extending.train(net, net.add_task("gold", init="red", adapter="grouped"))
    with pytest.raises(UserError, match=r"'gold': .*'grouped', which equal no"):
        reparameterize(net, "gold")
    assert torch.equal(deploy(net, "gold")(signal), net(signal, 2))


def test_the_architecture_tells_what_is_frozen(name):
    net = build(name)
    assert "num_frozen_tasks" not in net.architecture()
    net.freeze()
    assert not any(p.requires_grad for p in rebuild(net.architecture()).parameters())
    net.add_task("gold", init="red", adapter="none")
    net.add_task("pink", init="gold", adapter="residual")
    other = rebuild(json.loads(json.dumps(net.architecture())))
    assert other.architecture() == net.architecture()
    assert [(n, p.shape, p.requires_grad) for n, p in other.named_parameters()] == [
        (n, p.shape, p.requires_grad) for n, p in net.named_parameters()
    ]
    assert [m.training for m in other.train().modules()] == [
        m.training for m in net.train().modules()
    ]


def test_older_architectures_told_nothing_of_adapters(name):
    net = build(name)
    net.add_task("gold", init="red")
    older = net.architecture()
    assert older["extensions"] == [{"name": "gold", "init": "red"}]
    if name not in PRIVATE:
        older.pop("private_bn", None)
    assert rebuild(older).architecture() == net.architecture()


def test_a_part_can_be_copied_out_of_a_frozen_adapted_network(
    name, make_signal, extending
):
    net, signal = build(name), make_signal(2, 1, 4, 4, 4)
    net.freeze()
    net.add_task("gold", init="red", adapter="residual")
    pink = net.add_task("pink", init="red")
    assert torch.equal(net(signal, pink), net(signal, 0))
    own = [key for key in net.state_dict() if "_pink" in key]
    assert not any("gold" in key for key in own)
    before = {key: net.state_dict()[key].clone() for key in own}
    red = net.task_state("red")
    extending.train(net, pink)
    after = net.state_dict()
    assert not any(torch.equal(after[key], before[key]) for key in own)
    assert all(torch.equal(after[key], tensor) for key, tensor in red.items())


def test_a_fresh_head_takes_the_normalization_of_all(make_signal):
    for name in ("las", "las_private"):
        net, signal = build(name), make_signal(1, 1, 4, 4, 4)
        net.freeze()
        gold = net.add_task("gold", adapter="low_rank2")
        assert not torch.allclose(net(signal, gold), net(signal, 0))
        norm = net.unet.encoder1.conv1.norm
        means = [norm.of(task).running_mean for task in TASKS]
        expected = torch.stack(means).mean(dim=0)
        torch.testing.assert_close(norm.of("gold").running_mean, expected)


def test_a_refused_task_leaves_the_network_alone(name):
    net = build(name)
    net.freeze()
    net.add_task("gold", init="red", adapter="grouped")
    keys, architecture = net.state_dict().keys(), net.architecture()
    for init, adapter, message in (
        ("pink", "none", "init 'pink': use "),
        ("red", "low_rank", "adapter 'low_rank': use"),
        ("gold", "none", "'gold': this task .*use adapter 'grou"),
        ("gold", "residual", "of the kind 'grouped', which"),
    ):
        with pytest.raises(UserError, match=message):
            net.add_task("pink2", init=init, adapter=adapter)
    assert net.state_dict().keys() == keys
    assert net.architecture() == architecture
    assert net.task_names == (*TASKS, "gold")


@pytest.mark.parametrize("name", ["dec", "fnet"], indirect=True)
def test_a_task_without_a_part_needs_one_to_use(name):
    net = build(name)
    with pytest.raises(UserError, match=r"init 'fresh': use a known task \(red, green"):
        net.add_task("gold", adapter="none")
    net.add_task("gold", init="red", adapter="none")
    with pytest.raises(UserError, match=r"init 'gold': use 'fresh' or .*red, green\)"):
        net.add_task("pink", init="gold")


def test_other_networks_have_no_adapters():
    with pytest.raises(TypeError):
        CondNet(TASKS, width=2, depth=1).add_task("gold", adapter="residual")


@pytest.mark.parametrize("name", PRIVATE, indirect=True)
class TestPrivateNorms:
    def test_what_is_shared_has_normalization_for_each_task_and_no_other(self, name):
        net = build(name)
        shared = [n for n in net.unet.state_dict() if ".norm." in n]
        assert shared
        assert all(".norm.private_" in n for n in shared)

    def test_a_batch_of_one_task_moves_its_statistics_alone(self, name, make_signal):
        net = build(name).train()
        before = {key: value.clone() for key, value in net.named_buffers()}
        net(make_signal(2, 1, 4, 4, 4), 1)
        for key, value in net.named_buffers():
            foreign = "private_red" in key or "decoder_red" in key
            assert torch.equal(value, before[key]) == foreign, key

    def test_a_task_added_without_adapters_has_its_own_too(self, name, make_signal):
        net, signal = build(name), make_signal(1, 1, 4, 4, 4)
        copied, fresh = net.add_task("gold", init="green"), net.add_task("pink")
        assert torch.equal(net(signal, copied), net(signal, 1))
        assert net(signal, fresh).isfinite().all()
        norm = net.unet.encoder1.conv1.norm
        assert norm.of("gold") is not norm.of("green")
        assert torch.equal(norm.of("gold").weight, norm.of("green").weight)

    def test_it_costs_twice_the_channels_per_task(self, name):
        shared = build(name.removesuffix("_private")).num_parameters()
        units = [u for _, u in build(name).unet.units() if hasattr(u, "conv")]
        channels = sum(unit.conv.out_channels for unit in units)
        assert build(name).num_parameters() - shared == 2 * channels
