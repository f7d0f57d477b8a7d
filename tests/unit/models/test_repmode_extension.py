"""Extending a network to an unseen task: the old tasks stay the same to the bit."""

import copy

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models import (
    RepModeUNet,
    load_model,
    reparameterize,
    save_model,
)
from continual_repmode.models.conv_units import ConvUnit

OPTIONS = [
    {},
    {"private_bn": True},
    {"expert": None},
    {"expert": "conv5", "gate_init": "uniform"},
    {"expert": "conv1", "gate_init": "green"},
    {"expert": "conv3_rank2"},
    {"use_extensions": True, "private_bn": True},
    {"expert_mix": "additive", "expert_init": "zero"},
    {"expert_mix": "additive", "expert": "conv3_rank3-1", "gate_init": "gold"},
    {"expert_mix": "additive", "use_extensions": True, "private_bn": True},
    {"expert_mix": "additive", "expert": None, "use_extensions": True},
]

OWN_NORMS = {"private_bn": True}
OWN_EXPERTS = {**OWN_NORMS, "private_expert": "conv3", "scope": "decoder"}


@pytest.mark.parametrize(
    ("options", "network"),
    [
        *((o, {}) for o in OPTIONS),
        *((o, OWN_NORMS) for o in OPTIONS[::3]),
        *((o, OWN_EXPERTS) for o in (OPTIONS[1], *OPTIONS[8:])),
    ],
    ids=str,
)
def test_old_tasks_are_bit_identical_after_training_new_ones(
    make_net, options, network, tmp_path, extending
):
    net = make_net(depth=1, **network)
    extending.train(net, 1)  # leaves gradients and momentum behind
    old = net.task_names
    before = extending.snapshot(net, old)
    first = net.add_task("gold", private_bn=options.get("private_bn", False))
    extending.assert_unchanged(net, before)
    extending.train(net, first)
    extending.assert_unchanged(net, before)

    before = extending.snapshot(net, (*old, "gold"))
    second = net.add_task("pink", **options)
    assert (first, second) == (3, 4)
    untrained = extending.snapshot(net, ("pink",))
    extending.train(net, second)
    extending.assert_unchanged(net, before)
    trained = extending.snapshot(net, ("pink",))
    assert not torch.equal(trained["pink"][1], untrained["pink"][1])

    save_model(net, tmp_path / "net.safetensors")
    loaded = load_model(tmp_path / "net.safetensors")
    extending.assert_unchanged(loaded, extending.snapshot(net, net.task_names))
    extending.train(loaded, second)
    extending.assert_unchanged(loaded, before)


@pytest.mark.parametrize("network", [{}, OWN_NORMS, OWN_EXPERTS], ids=str)
@pytest.mark.parametrize(
    ("expert", "mix"),
    [("conv3", "additive"), ("conv7", "softmax"), ("avg3_conv1", "additive")],
)
def test_extended_network_is_the_explicit_one(
    make_net, make_signal, explicit, expert, mix, network, extending
):
    net = make_net(**network)
    net.add_task("gold", expert=expert, expert_mix=mix)
    extending.train(net, 3)
    signal, labels = make_signal(4, 1, 4, 4, 8), [3, 0, 3, 1]
    expected = explicit(net, training=False)(signal, labels)
    torch.testing.assert_close(net(signal, torch.tensor(labels)), expected)


def test_an_added_expert_stands_outside_the_softmax_with_weight_one(make_net):
    net = make_net(experts=("conv3", "conv1"))
    net.add_task("gold")
    net.add_task("pink", expert="conv1", expert_mix="additive", use_extensions=True)
    conv = net.blocks()["encoder1.conv2"].conv
    logits = conv.gate.get_parameter("logits_pink")
    with torch.no_grad():
        logits.normal_(generator=torch.Generator().manual_seed(0))
    weights = conv.gate("pink")
    torch.testing.assert_close(weights[:2], logits[:2].exp() / logits[:2].exp().sum(0))
    assert torch.equal(weights[2], logits[2])  # gold's expert, as much as it likes
    assert torch.equal(weights[3], torch.ones(2).double())
    assert conv.gate.num_weights("pink") == 3 * 2
    net.freeze()
    assert torch.equal(conv.gate("pink"), weights)
    assert conv.gate.num_weights("pink") == 3 * 2


def test_an_additive_task_without_training_is_its_start_task(make_net, make_signal):
    """Gate, kernel and normalization start as those of the task it is like."""
    signal = make_signal(1, 1, 4, 4, 4)
    for own_norms in (False, True):
        net = make_net(private_bn=own_norms)
        label = net.add_task(
            "gold", gate_init="blue", expert_mix="additive", expert_init="zero"
        )
        torch.testing.assert_close(net(signal, label), net(signal, 2))


def test_an_expert_beside_a_plain_convolution_is_added_and_can_be_merged(
    make_net, make_signal, extending
):
    net, signal = make_net(**OWN_EXPERTS), make_signal(1, 1, 4, 4, 4)
    label = net.add_task("gold", expert="conv3_rank2", expert_mix="additive")
    net.add_task("pink", freeze=False)  # of a softmax: none there
    plain = [unit for _, unit in net.unet.units() if isinstance(unit, ConvUnit)]
    having = [unit for unit in plain if unit.adapter_of("gold") is not None]
    assert [unit for unit in plain if unit.keeps_resolution] == having
    assert len(having) == 2 * (net.depth + 1)
    assert all(unit.adapter_of("pink") is None for unit in plain)
    extending.train(net, label)
    assert all(unit.adapter_of("gold").kernel().any() for unit in having)
    with torch.no_grad():
        torch.testing.assert_close(reparameterize(net, "gold")(signal), net(signal, 3))


def test_a_new_norm_starts_from_that_of_its_start_task_or_the_mean(make_net):
    net = make_net(private_bn=True)
    for task, init in (("gold", "mean"), ("pink", "gold")):
        net.add_task(task, gate_init=init)
    norm = net.blocks()["encoder1.conv1"].norm
    known = [norm.of(task) for task in ("red", "green", "blue")]
    for name, tensor in norm.of("gold").effective_state().items():
        values = [other.effective_state()[name] for other in known]
        torch.testing.assert_close(tensor, sum(values) / 3)
    for name, tensor in norm.of("pink").effective_state().items():
        assert torch.equal(tensor, norm.of("gold").effective_state()[name])


def test_a_network_with_norms_per_task_keeps_and_counts_no_shared_one():
    with torch.device("meta"):
        shared = RepModeUNet(["red", "blue"], width=4, depth=1)
        own = RepModeUNet(["red", "blue"], width=4, depth=1, private_bn=True)
    norms = [p.numel() for n, p in shared.named_parameters() if ".norm." in n]
    assert own.num_parameters() == shared.num_parameters() + sum(norms)  # two, not one
    assert own.num_task_parameters("red") == shared.num_task_parameters("red") + sum(
        norms
    )
    assert not any(".norm.running_mean" in name for name in own.state_dict())
    own.add_task("gold")
    assert own.architecture()["extensions"][0]["private_bn"]


def test_learning_rates_of_their_own_are_for_gates_and_outer_factors(make_net):
    net = make_net()
    kinds = net.rate_kinds()
    assert len(kinds["gates"]) == 2 * len(net.blocks())  # weight and bias of each
    assert not kinds["outer"]
    net.add_task("gold", expert="conv3_rank2", expert_mix="additive")
    kinds = net.rate_kinds()
    assert [p.shape[0] for p in kinds["gates"]] == [5] * len(net.blocks())
    assert len(kinds["outer"]) == len(net.blocks())
    assert {p.shape[1] for p in kinds["outer"]} == {2}


def test_freezing_keeps_outputs_to_the_bit_and_drops_the_gate_layers(
    make_net, extending
):
    net = make_net()
    before = extending.snapshot(net, net.task_names)
    net(torch.ones(1, 1, 4, 4, 4).double(), 0).sum().backward()
    assert not net.is_frozen
    net.freeze()
    assert net.is_frozen
    assert all(p.grad is None for p in net.parameters())
    extending.assert_unchanged(net, before)
    assert not any("gate" in name for name, _ in net.named_parameters())
    assert not any(p.requires_grad for p in net.parameters())


def test_only_the_new_expert_and_gate_can_be_trained(make_net):
    net = make_net()
    net.add_task("gold")
    trainable = [n for n, p in net.named_parameters() if p.requires_grad]
    assert len(trainable) == 2 * len(net.blocks())
    assert all("extension_gold" in n or "logits_gold" in n for n in trainable)


def test_a_private_norm_is_trained_with_its_own_statistics(make_net, extending):
    net = make_net()
    net.add_task("gold", private_bn=True)
    before = net.task_state("gold")
    assert any("private_gold" in n for n, p in net.named_parameters())
    shared = net.task_state("red")
    for name, tensor in before.items():
        if "norm" in name:
            assert torch.equal(tensor, shared[name])
    extending.train(net, 3)
    after = net.task_state("gold")
    for name in before:
        if "norm" in name:
            assert not torch.equal(after[name], before[name]), name


def test_a_private_norm_of_a_mixed_training_batch_sees_its_own_task(
    make_net, make_signal
):
    net, signal = make_net(), make_signal(4, 1, 4, 4, 4)
    net.add_task("gold", private_bn=True, freeze=False)
    nets = [net.train(), copy.deepcopy(net)]
    # Shared blocks see red and blue together, private ones gold alone.
    mixed = nets[0](signal, torch.tensor([3, 0, 3, 2]))
    apart = torch.empty_like(mixed)
    apart[[0, 2]] = nets[1](signal[[0, 2]], 3)
    apart[[1, 3]] = nets[1](signal[[1, 3]], torch.tensor([0, 2]))
    torch.testing.assert_close(mixed, apart)
    for one, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("expert", ["conv3", "avg3_conv1", "conv3_rank2"])
def test_an_expert_that_starts_at_zero_adds_nothing_but_learns(
    make_net, make_signal, expert, extending
):
    net, signal = make_net(width=4), make_signal(1, 1, 4, 4, 4)
    label = net.add_task("gold", expert=expert, expert_init="zero")
    added = [block.conv.experts["extension_gold"] for block in net.blocks().values()]
    assert not any(expert.kernel().any() for expert in added)
    assert net(signal, label).any()
    extending.train(net, label)
    assert all(expert.kernel().any() for expert in added)


def test_stored_gates_count_as_parameters():
    with torch.device("meta"):
        net = RepModeUNet(["red", "blue"], width=4, depth=1)
        gates = net.num_task_parameters("red")
        bias = gates  # of the layer that makes them
        free = net.num_parameters()
        net.freeze()
        assert net.num_parameters() == free - bias
        net.add_task("gold")
    own = net.num_task_parameters("gold")
    assert net.num_parameters() == free - bias + own


def test_without_freezing_everything_stays_trainable_and_old_tasks_change(
    make_net, extending
):
    net = make_net()
    before = extending.snapshot(net, ("red",))
    label = net.add_task("gold", freeze=False)
    assert not net.is_frozen
    assert all(p.requires_grad for p in net.parameters())
    assert any("gate.linear" in n for n, _ in net.named_parameters())
    extending.assert_unchanged(net, before)
    extending.train(net, label)
    assert before["red"][0] != extending.snapshot(net, ("red",))["red"][0]


def test_an_extension_costs_its_experts_gates_and_norms():
    with torch.device("meta"):
        net = RepModeUNet(["red"])
        net.add_task("gold")
        net.add_task("pink", private_bn=True)
        net.add_task("cyan", expert=None)
        plain_norms = sum(
            p.numel() for n, p in RepModeUNet(["red"]).named_parameters() if "norm" in n
        )
    assert net.num_task_parameters("gold") == 21_180_096 + 17_670
    assert net.num_task_parameters("pink") == 21_180_096 + 17_670 + plain_norms
    assert net.num_task_parameters("cyan") == 14_725
    assert net.num_task_parameters("red") == 14_725


def test_use_extensions_is_true_for_all_that_have_an_expert_or_names_some(make_net):
    net = make_net(experts=("conv3", "conv1"))
    net.add_task("gold")
    net.add_task("grey", expert=None)
    net.add_task("pink", expert="conv1")
    net.add_task("cyan", use_extensions=True)
    net.add_task("lime", use_extensions=["pink"])
    net.add_task("plum", expert=None, use_extensions=["cyan", "gold"])
    said = {e["name"]: e["use_extensions"] for e in net.architecture()["extensions"]}
    assert said == {
        "gold": [],
        "grey": [],
        "pink": [],
        "cyan": ["gold", "pink"],
        "lime": ["pink"],
        "plum": ["cyan", "gold"],
    }
    experts = {t.task: t.experts[2:] for t in net.gating_weights()}
    assert experts["cyan"] == ("extension_gold", "extension_pink", "extension_cyan")
    assert experts["lime"] == ("extension_pink", "extension_lime")
    assert experts["plum"] == ("extension_cyan", "extension_gold")


def test_experts_of_a_named_extension_enter_the_sum_and_others_do_not(make_net):
    """The task's kernel against the gated sum of what it should be made of."""
    net = make_net(experts=("conv3", "conv1"))
    net.add_task("gold")
    net.add_task("pink", expert="conv1")
    net.add_task("lime", expert="conv5", use_extensions=["pink"])
    conv = net.blocks()["encoder1.conv2"].conv
    names = ["conv3", "conv1", "extension_pink", "extension_lime"]
    expected = torch.zeros(2, 2, 5, 5, 5, dtype=torch.float64)
    for name, gate in zip(names, conv.gate("lime"), strict=True):
        kernel = conv.experts[name].kernel()
        low = (5 - kernel.shape[-1]) // 2
        middle = slice(low, 5 - low)
        expected[:, :, middle, middle, middle] += gate.view(-1, 1, 1, 1, 1) * kernel
    torch.testing.assert_close(conv.merged_kernel("lime"), expected)


def test_older_architectures_said_use_extensions_by_yes_or_no(make_net):
    for said in (True, False):
        net = make_net(depth=1)
        net.add_task("gold")
        net.add_task("pink", use_extensions=said)
        older = net.architecture()
        older["extensions"] = [dict(extension) for extension in older["extensions"]]
        older["extensions"][0]["use_extensions"] = False
        older["extensions"][1]["use_extensions"] = said
        assert RepModeUNet.from_architecture(older).architecture() == net.architecture()


def test_extensions_that_cannot_be_used_are_refused(make_net):
    net = make_net(depth=1)
    net.add_task("gold")
    net.add_task("grey", expert=None)
    for wanted in (["grey"], ["gold", "gold"], ["pink"], "blue"):
        with pytest.raises(UserError, match=r"use_extensions '\w+': .*once \(gold\)"):
            net.add_task("pink", use_extensions=wanted)
    assert net.task_names[-1] == "grey"


def test_a_refused_task_leaves_the_network_alone(make_net):
    net = make_net(depth=1)
    keys = net.state_dict().keys()
    for name, options, message in (
        ("mean", {}, "'mean' is reserved"),
        ("uniform", {}, "'uniform' is reserved"),
        ("gold", {"expert": "conv4"}, "expert 'conv4'"),
        ("gold", {"gate_init": "pink"}, "gate_init 'pink'.*red, green, blue"),
        ("gold", {"gate_init": "gold"}, "gate_init 'gold'"),
        ("gold", {"expert_init": "one"}, "expert_init 'one': use 'random' or 'zero'"),
        ("gold", {"expert_mix": "sum"}, "expert_mix 'sum': use 'softmax'"),
        ("gold", {"use_extensions": ["red"]}, "use_extensions 'red'.*there is none"),
    ):
        with pytest.raises(UserError, match=message):
            net.add_task(name, **options)
        assert net.task_names == ("red", "green", "blue")
        assert not net.is_frozen
        assert net.state_dict().keys() == keys


def test_names_of_module_methods_can_name_tasks(make_signal):
    net = RepModeUNet(["train", "float"], 1, 1).double().eval()
    label = net.add_task("items", private_bn=True)
    assert net(make_signal(1, 1, 2, 2, 2), label).isfinite().all()


def test_older_architectures_knew_no_additive_experts_or_norms_per_task(make_net):
    net = make_net()
    net.add_task("gold")
    older = net.architecture()
    del older["private_bn"]
    older["extensions"] = [dict(extension) for extension in older["extensions"]]
    del older["extensions"][0]["expert_mix"]
    assert RepModeUNet.from_architecture(older).architecture() == net.architecture()
