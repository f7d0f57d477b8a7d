"""The rows of Table 2, and experts of single tasks: the formula with one change."""

import copy
import json

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models import (
    EXPERTS,
    MergedTasks,
    RepModeUNet,
    deploy,
    fingerprint,
    load_model,
    reparameterize,
    save_model,
)
from continual_repmode.models.deploy import OneTask

C5, C3, C1, A3, A5 = EXPERTS
ROWS = {
    "only_decoder": {"scope": "decoder"},
    "only_encoder": {"scope": "encoder"},
    "without_1x1x1_pair": {"experts": [C5, C3, A3, A5]},
    "without_3x3x3_pair": {"experts": [C5, C1, A5]},
    "without_5x5x5_pair": {"experts": [C3, C1, A3]},
    "without_conv": {"experts": [A3, A5]},
    "without_avgp_conv": {"experts": [C5, C3, C1]},
    "without_avgp": {"experts": [C5, C3, C1, C1, C1]},
    "avgp_3x3x3_only": {"experts": [C5, C3, C1, A3, A3]},
    "avgp_5x5x5_only": {"experts": [C5, C3, C1, A5, A5]},
    "gaussian_embedding": {"task_embedding": "gaussian"},
    "two_layer_gate": {"gate_hidden": 6},
    "sigmoid_gate": {"gate_activation": "sigmoid"},
    "input_dependent_gate": {"gate_input": "features"},
    "private_experts": {"private_expert": "conv3"},
    "private_decoder": {
        "private_expert": "conv1",
        "private_bn": True,
        "scope": "decoder",
        "experts": [C3, C1, A3],
    },
}
FEATURES = ROWS["input_dependent_gate"]
WITH_TASKS = {name: row for name, row in ROWS.items() if row != FEATURES}
LABELS = [2, 0, 2, 1]


def rows(found: dict):
    return pytest.mark.parametrize("options", found.values(), ids=found.keys())


@rows(ROWS)
def test_a_mixed_batch_is_the_explicit_network_with_its_gradients(
    make_net, make_signal, explicit, options
):
    net, signal = make_net(**options), make_signal(4, 1, 4, 8, 4)
    expected = explicit(net, training=False)(signal, LABELS)
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            torch.testing.assert_close(net(signal, torch.tensor(LABELS)), expected)
    net.train()
    weights = make_signal(4, 1, 4, 8, 4, seed=9)
    expected = explicit(net, training=True)(signal, LABELS)
    result = net(signal, torch.tensor(LABELS))
    torch.testing.assert_close(result, expected)
    ours = torch.autograd.grad((result * weights).sum(), list(net.parameters()))
    theirs = torch.autograd.grad((expected * weights).sum(), list(net.parameters()))
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-6, atol=1e-9)


@rows(WITH_TASKS)
def test_a_task_becomes_a_plain_network_with_its_predictions(
    make_net, make_signal, options
):
    net, signal = make_net(**options), make_signal(2, 1, 4, 8, 4)
    with torch.no_grad():
        torch.testing.assert_close(deploy(net, "green")(signal), net(signal, 1))


def test_merged_kernels_are_as_large_as_the_largest_expert(make_net):
    sizes = {"without_5x5x5_pair": 3, "without_3x3x3_pair": 5, "without_conv": 5}
    for row, size in sizes.items():
        plain = reparameterize(make_net(**ROWS[row]), "red")
        conv = plain.get_submodule("encoder1.conv1").conv
        assert conv.kernel_size == (size,) * 3, row


@rows(WITH_TASKS)
def test_a_new_task_leaves_the_old_ones_alone_to_the_bit(
    make_net, make_signal, explicit, options, tmp_path
):
    net, signal = make_net(depth=1, **options), make_signal(2, 1, 4, 4, 4)
    old = range(3)
    before = [(fingerprint(net, task), net(signal, task)) for task in old]
    label = net.add_task("gold")
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.05, weight_decay=0.5)
    net.train()(signal, label).square().mean().backward()
    optimizer.step()
    net.eval()
    save_model(net, tmp_path / "net.safetensors")
    loaded = load_model(tmp_path / "net.safetensors")
    for task, (digests, prediction) in zip(old, before, strict=True):
        for same in (net, loaded):
            assert fingerprint(same, task) == digests
            assert torch.equal(same(signal, task), prediction)
    expected = explicit(net, training=False)(signal, [label] * 2)
    torch.testing.assert_close(loaded(signal, label), expected)


@rows(WITH_TASKS)
def test_a_new_gate_starts_as_what_it_is_copied_from(make_net, make_signal, options):
    net, signal = make_net(depth=1, **options), make_signal(1, 1, 4, 4, 4)
    for block in net.blocks().values() if options.get("private_expert") else ():
        block.conv.experts["extension_blue"].zero_()  # what no other task uses
    for name, stored in {"gold": False, "pink": True}.items():
        label = net.add_task(name, expert=None, gate_init="blue", freeze=stored)
        torch.testing.assert_close(net(signal, label), net(signal, 2))


@rows(ROWS)
def test_freezing_and_the_file_keep_everything_to_the_bit(
    make_net, make_signal, options, tmp_path
):
    net, signal = make_net(depth=1, **options), make_signal(3, 1, 4, 4, 4)
    labels, path = torch.tensor([1, 0, 2]), tmp_path / "net.safetensors"
    prediction = net(signal, labels)
    save_model(net, path)
    loaded = load_model(path)
    assert json.loads(json.dumps(loaded.architecture())) == net.architecture()
    assert torch.equal(loaded(signal, labels), prediction)
    before = [fingerprint(net, task) for task in net.task_names]
    net.freeze()
    assert not any(p.requires_grad for p in net.parameters())
    assert [fingerprint(net, task) for task in net.task_names] == before
    assert torch.equal(net(signal, labels), prediction)
    torch.testing.assert_close(net.train()(signal, labels), prediction)


def test_files_of_networks_without_these_options_still_load(make_net):
    architecture = make_net().architecture()
    for option in ROWS.values():
        for name in option.keys() - {"experts"}:
            architecture.pop(name, None)
    other = RepModeUNet.from_architecture(architecture)
    assert other.architecture() == make_net().architecture()


def test_cached_kernels_follow_every_tensor_of_the_gate(
    make_net, make_signal, explicit
):
    for row in ("gaussian_embedding", "two_layer_gate", "sigmoid_gate"):
        net, signal = make_net(**ROWS[row]), make_signal(1, 1, 4, 4, 4)
        gate = net.blocks()["encoder1.conv2"].conv.gate
        for tensor in (*gate.parameters(), *gate.buffers()):
            with torch.no_grad():
                net(signal, 1)
                tensor += torch.linspace(0.1, 1, tensor.numel()).view_as(tensor)
                found = net(signal, 1)
            expected = explicit(net, training=False)(signal, [1])
            torch.testing.assert_close(found, expected)


class TestParameterCounts:
    """At the size of the paper; C_I * C_O sums to 784,448 and C_O to 2,945."""

    @staticmethod
    def count(tasks: int = 12, **options) -> int:
        names = [f"task{i}" for i in range(tasks)]
        with torch.device("meta"):
            net = RepModeUNet(names, **options)
        return sum(p.numel() for p in net.parameters())

    def rest(self) -> int:
        """Sampling convolutions and normalization."""
        return self.count() - 784_448 * (125 + 27 + 3) - 2_945 * 5 * 13

    def test_experts_bring_their_taps_and_their_gates(self):
        rest = self.rest()
        for row, taps in {
            "without_1x1x1_pair": [125, 27, 1, 1],
            "without_3x3x3_pair": [125, 1, 1],
            "without_5x5x5_pair": [27, 1, 1],
            "without_conv": [1, 1],
            "without_avgp_conv": [125, 27, 1],
            "without_avgp": [125, 27, 1, 1, 1],
            "avgp_3x3x3_only": [125, 27, 1, 1, 1],
            "avgp_5x5x5_only": [125, 27, 1, 1, 1],
        }.items():
            expected = 784_448 * sum(taps) + 2_945 * len(taps) * 13 + rest
            assert self.count(**ROWS[row]) == expected, row

    def test_plain_convolutions_are_of_size_5(self):
        for scope, products, channels in (
            # C_I * C_O and C_O of the places with experts, at widths 32 to 512
            ("encoder", 32 * 33 + 64 * 96 + 128 * 192 + 256 * 384 + 512 * 768, 1984),
            ("decoder", 256 * 768 + 128 * 384 + 64 * 192 + 32 * 96 + 32, 961),
        ):
            assert self.count(scope=scope) == (
                100_152_768 + products * (27 + 3) + channels * 5 * 13
            ), scope

    def test_gates_of_other_kinds(self):
        outputs = 5 * 2_945
        one_layer = outputs * 13
        assert self.count(task_embedding="gaussian") == self.count()
        assert self.count(gate_activation="sigmoid") == self.count()
        hidden = 19 * 6 * 13 + outputs * 7
        assert self.count(gate_hidden=6) == self.count() - one_layer + hidden
        inputs = 5 * (784_448 + 2_945)  # from C_I and a bias to 5 * C_O
        assert self.count(**FEATURES) == self.count() - one_layer + inputs

    def test_a_task_has_its_gating_weights(self):
        with torch.device("meta"):
            nets = {name: RepModeUNet(**row) for name, row in ROWS.items()}
        counts = {name: net.num_task_parameters("dna") for name, net in nets.items()}
        assert counts["two_layer_gate"] == counts["without_avgp"] == 14_725
        assert counts["without_3x3x3_pair"] == 3 * 2_945
        assert counts["only_encoder"] == 5 * 1984
        assert counts["input_dependent_gate"] == 0


class TestGaussianEmbedding:
    def test_all_blocks_share_vectors_that_are_drawn_once_and_saved(
        self, make_net, tmp_path
    ):
        net = make_net(task_embedding="gaussian")
        first, *others = (block.conv.gate.embedding for block in net.blocks().values())
        assert first.shape == (3, 3)
        assert all(torch.equal(first, other) for other in others)
        save_model(net, tmp_path / "net.safetensors")
        torch.manual_seed(7)
        loaded = load_model(tmp_path / "net.safetensors")
        assert torch.equal(loaded.blocks()["output"].conv.gate.embedding, first)

    def test_its_entries_are_standard_normal_and_no_parameters(self):
        torch.manual_seed(0)
        net = RepModeUNet(
            [f"task{i}" for i in range(60)], 1, 1, ["conv1"], task_embedding="gaussian"
        )
        entries = net.blocks()["output"].conv.gate.embedding
        assert abs(entries.mean()) < 0.06
        assert abs(entries.std() - 1) < 0.06
        assert not any("embedding" in name for name, _ in net.named_parameters())

    def test_the_paper_network_draws_nothing_more(self):
        torch.manual_seed(0)
        net = RepModeUNet(["red"], 1, 1)
        weights = net.unet.encoder1.conv1.conv.experts["conv5"].weight
        torch.manual_seed(0)
        assert torch.equal(weights, torch.nn.Conv3d(1, 1, 5, bias=False).weight)


class TestFeatureGates:
    def test_the_prediction_does_not_depend_on_the_label(self, make_net, make_signal):
        net, signal = make_net(**FEATURES), make_signal(3, 1, 4, 4, 4)
        for mode in (net.train(), net.eval()):
            predictions = [
                copy.deepcopy(mode)(signal, torch.tensor(labels))
                for labels in ([0, 0, 0], [2, 1, 0])
            ]
            torch.testing.assert_close(*predictions)

    def test_every_sample_has_kernels_of_its_own_in_both_modes(
        self, make_net, make_signal
    ):
        net, signal = make_net(**FEATURES), make_signal(2, 1, 4, 4, 4)
        gate = net.unet.encoder1.conv1.conv.gate
        first, second = gate(signal + torch.tensor([0.0, 2.0]).view(2, 1, 1, 1, 1))
        assert not torch.allclose(first, second)
        together = net(signal, 0)
        for row in range(2):
            torch.testing.assert_close(
                together[row : row + 1], net(signal[row][None], 0)
            )

    def test_what_needs_gates_of_tasks_is_refused_in_one_line(self, make_net):
        net = make_net(**FEATURES)
        for refused in (
            lambda: net.add_task("gold"),
            lambda: reparameterize(net, "red"),
            lambda: MergedTasks(net),
        ):
            with pytest.raises(UserError, match="gate_input 'features'") as caught:
                refused()
            assert "\n" not in str(caught.value)
        assert net.task_names == ("red", "green", "blue")
        assert not net.is_frozen
        assert net.blocks() == {}
        assert net.gating_weights() == []

    def test_one_task_is_deployed_as_a_view_of_the_network(self, make_net, make_signal):
        net, signal = make_net(**FEATURES), make_signal(2, 1, 4, 4, 4)
        deployed = deploy(net, "green")
        assert isinstance(deployed, OneTask)
        assert torch.equal(deployed(signal), net(signal, 1))


def test_gates_stay_in_full_precision_under_autocast(make_net, make_signal):
    signal = make_signal(2, 1, 8, 8, 8).float()
    for options in (FEATURES, {"task_embedding": "gaussian", "gate_hidden": 6}):
        net = make_net(**options).float().train()
        with torch.autocast("cpu", torch.bfloat16):
            net(signal, 0).square().mean().backward()
        assert all(p.grad.dtype == torch.float32 for p in net.parameters())
        if net.blocks():
            with torch.autocast("cpu", torch.bfloat16):
                gates = net.blocks()["output"].conv.gate("red")
            assert torch.equal(gates, net.blocks()["output"].conv.gate("red"))
        else:
            gate = net.unet.encoder1.conv1.conv.gate
            with torch.autocast("cpu", torch.bfloat16):
                gates = gate(signal)
            assert torch.equal(gates, gate(signal))


def test_gating_tables_of_a_part_are_of_its_blocks(make_net):
    encoder, decoder = (make_net(scope=scope) for scope in ("encoder", "decoder"))
    parts = [
        {t.block.split(".")[0] for t in n.gating_weights()} for n in (encoder, decoder)
    ]
    assert parts == [
        {"encoder1", "encoder2", "bottleneck"},
        {"decoder1", "decoder2", "output"},
    ]


def test_wrong_options_are_refused():
    for options, message in (
        ({"scope": "middle"}, "scope 'middle': use all, encoder, decoder"),
        ({"task_embedding": "hash"}, "task_embedding 'hash': use one_hot or gaussian"),
        ({"gate_hidden": 0}, "gate_hidden 0: use a positive number"),
        ({"gate_activation": "tanh"}, "gate_activation 'tanh': use softmax or sigmoid"),
        ({"gate_input": "both"}, "gate_input 'both'"),
        ({**FEATURES, "gate_hidden": 6}, "gate_hidden 6: these belong to"),
        ({**FEATURES, "task_embedding": "gaussian"}, "these belong to"),
        ({**FEATURES, "private_bn": True}, "private_bn with gate_input 'features'"),
    ):
        with pytest.raises(UserError, match=message):
            RepModeUNet(["red"], 1, 1, **options)
