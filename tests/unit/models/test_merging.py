"""Extensions of the same base, put into one network: every task predicts as before."""

import copy

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models import ModelCard, RepModeUNet, TaskCard, fingerprint
from continual_repmode.models.merging import (
    base_sha256,
    compare_tasks,
    merge,
    merge_cards,
    rename_task,
)

BASE = ("red", "green", "blue")

OPTIONS = {
    "conv3": {},
    "gate_only": {"expert": None},
    "private_bn": {"private_bn": True, "gate_init": "uniform"},
    "like_green": {"expert": "conv1", "gate_init": "green"},
    "low_rank": {"expert": "conv3_rank3-1"},
    "added": {"expert_mix": "additive", "expert": "conv3_rank2"},
}

STRUCTURES = {
    "small": {"experts": ("conv3", "avg3_conv1")},
    "flat_encoder": {"axes": "YX", "scope": "encoder", "experts": ("conv3", "conv1")},
    "sigmoid": {"gate_activation": "sigmoid", "gate_hidden": 2, "experts": ("conv3",)},
    "own_experts": {"scope": "decoder", "private_bn": True, "private_expert": "conv1"},
    "gaussian": {"task_embedding": "gaussian", "experts": ("conv3",), "depth": 2},
}


@pytest.fixture(params=STRUCTURES)
def base(request, make_net):
    net = make_net(**{"depth": 1} | STRUCTURES[request.param])
    net.freeze()
    return net


@pytest.fixture
def small(make_net):
    net = make_net(depth=1, **STRUCTURES["small"])
    net.freeze()
    return net


def extended(net: RepModeUNet, *tasks: tuple[str, dict]) -> RepModeUNet:
    """Return a copy of the network with tasks learned one after another."""
    net = copy.deepcopy(net)
    for seed, (name, options) in enumerate(tasks):
        torch.manual_seed(sum(map(ord, name)) + seed)
        label = net.add_task(name, **options)
        trained = [p for p in net.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=0.05, weight_decay=0.1)
        for _ in range(2):
            net.train()
            signal = torch.randn(2, 1, 4, 4, 4, dtype=torch.float64)
            optimizer.zero_grad()
            (net(signal, label) - signal).square().mean().backward()
            optimizer.step()
    return net.eval()


@torch.no_grad()
def predictions(net: RepModeUNet) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    signal = torch.randn(1, 1, 4, 6, 8, generator=generator, dtype=torch.float64)
    return {task: net(signal, net.task_label(task)) for task in net.task_names}


def assert_predicts_as(net: RepModeUNet, *parents: RepModeUNet) -> None:
    """Each task of each parent: the same tensors, fingerprint and prediction."""
    found = predictions(net)
    for parent in parents:
        for task, expected in predictions(parent).items():
            assert torch.equal(found[task], expected), task
            assert fingerprint(net, task) == fingerprint(parent, task), task


def test_every_task_predicts_as_in_its_parent(base):
    for mine, theirs in zip(OPTIONS, [*OPTIONS][1:] + [*OPTIONS][:1], strict=True):
        one = extended(base, ("gold", OPTIONS[mine]))
        other = extended(base, ("pink", OPTIONS[theirs]), ("grey", OPTIONS[mine]))
        before = [predictions(net) for net in (one, other)]
        merged = merge(one, other)
        assert merged.task_names == (*BASE, "gold", "pink", "grey")
        assert merged.is_frozen
        assert not any(p.requires_grad for p in merged.parameters())
        assert_predicts_as(merged, one, other)
        for net, expected in zip((one, other), before, strict=True):
            found = predictions(net)
            assert all(torch.equal(found[t], expected[t]) for t in expected), mine


def test_a_batch_may_mix_the_tasks_of_both(small):
    one = extended(small, ("gold", {"private_bn": True}))
    merged = merge(one, extended(small, ("pink", {"private_bn": True})))
    signal = torch.randn(5, 1, 4, 4, 4, dtype=torch.float64)
    together = merged(signal, torch.arange(5))
    for label in range(5):
        torch.testing.assert_close(together[label], merged(signal, label)[label])


def test_experts_of_other_extensions_stay_those_that_were_meant(small):
    one = extended(small, ("gold", {}), ("lime", {"use_extensions": True}))
    other = extended(
        small,
        ("pink", {}),
        ("grey", {"expert": None, "use_extensions": True}),
        ("plum", {"expert": "conv1", "use_extensions": True, "private_bn": True}),
    )
    merged = merge(one, other)
    assert_predicts_as(merged, one, other)
    used = {t.task: t.experts[2:] for t in merged.gating_weights()}
    assert used["grey"] == ("extension_pink",)
    assert used["plum"] == ("extension_pink", "extension_plum")
    assert used["lime"] == ("extension_gold", "extension_lime")


def test_shared_extensions_are_there_once_whatever_their_order(small):
    gold = extended(small, ("gold", {}))
    pink = extended(small, ("pink", {}))
    forth, back = merge(gold, pink), merge(pink, gold)
    one = extended(forth, ("lime", {"use_extensions": True}))
    other = extended(back, ("plum", {"use_extensions": True}))
    assert other.architecture()["extensions"][-1]["use_extensions"] == ["pink", "gold"]
    merged = merge(one, other)
    assert merged.task_names == (*BASE, "gold", "pink", "lime", "plum")
    assert_predicts_as(merged, one, other)


def test_merging_is_associative_and_its_order_decides_no_prediction(small):
    a, b, c = (
        extended(small, (name, options))
        for name, options in (
            ("gold", {}),
            ("pink", {"private_bn": True}),
            ("grey", {"expert": None}),
        )
    )
    left, right = merge(merge(a, b), c), merge(a, merge(b, c))
    assert left.architecture() == right.architecture()
    assert left.state_dict().keys() == right.state_dict().keys()
    for name, tensor in left.state_dict().items():
        assert torch.equal(tensor, right.state_dict()[name]), name
    assert_predicts_as(merge(c, merge(b, a)), left)


def test_a_network_merges_with_its_base_and_with_itself(make_net):
    base = make_net(depth=1, **STRUCTURES["small"])  # freezing it is part of extending
    net = extended(base, ("gold", {}))
    for merged in (merge(net, base), merge(base, net), merge(net, net)):
        assert merged.task_names == net.task_names
        assert_predicts_as(merged, net)
    assert not base.is_frozen


def test_a_merged_network_shares_no_memory_and_can_be_extended(small):
    one, other = extended(small, ("gold", {})), extended(small, ("pink", {}))
    merged = merge(one, other)
    pointers = {t.data_ptr() for n in (one, other) for t in n.state_dict().values()}
    assert not pointers & {t.data_ptr() for t in merged.state_dict().values()}
    assert_predicts_as(extended(merged, ("lime", {"use_extensions": True})), merged)


def test_bases_that_differ_are_refused_with_both_hashes(small):
    other = copy.deepcopy(small)
    with torch.no_grad():
        other.unet.output.conv.experts["conv3"].weight[0, 0, 0, 0, 0] += 1e-12
    hashes = base_sha256(small), base_sha256(other)
    assert hashes[0] != hashes[1]
    with pytest.raises(UserError) as caught:
        merge(extended(small, ("gold", {})), extended(other, ("pink", {})))
    message = str(caught.value)
    assert all(found in message for found in hashes)
    assert "1 tensors differ, the first is unet.output.conv.experts.conv3" in message
    assert "\n" not in message


def test_the_hash_of_the_base_ignores_extensions_and_whether_it_is_frozen(make_net):
    base = make_net(depth=1)
    expected = base_sha256(base)
    net = extended(base, ("gold", {"private_bn": True}), ("red2", {"expert": None}))
    assert base_sha256(net) == expected
    other = make_net(depth=1)
    other.unet.output.conv.gate.linear.bias.data[0] += 1
    assert base_sha256(other) != expected


def test_bases_of_another_structure_are_refused(make_net, small):
    for change in ({"width": 3}, {"task_names": ("red", "green", "cyan")}):
        other = make_net(**{"depth": 1, **STRUCTURES["small"]} | change)
        (key,) = change
        with pytest.raises(UserError, match=f"same base: {key} is .* in one"):
            merge(small, other)


def test_tasks_of_the_same_name_that_differ_are_refused_with_a_remedy(small):
    one = extended(small, ("gold", {}))
    for other in (
        extended(small, ("grey", {}), ("gold", {})),  # trained otherwise
        extended(small, ("gold", {"gate_init": "uniform"})),
    ):
        with pytest.raises(UserError, match=r"'gold' is in both.*--rename gold=NEW"):
            merge(one, other)


def test_a_base_that_moved_with_its_extension_is_refused(make_net, small):
    net = make_net(depth=1, **STRUCTURES["small"])
    net.add_task("pink", freeze=False)
    with pytest.raises(UserError, match="'pink' was learned without freezing"):
        merge(small, net)


def test_a_renamed_task_predicts_the_same_and_is_still_used_by_others(small):
    net = extended(
        small,
        ("gold", {"private_bn": True}),
        ("pink", {"use_extensions": ["gold"], "gate_init": "gold"}),
    )
    renamed = rename_task(net, "gold", "lime")
    assert renamed.task_names == (*BASE, "lime", "pink")
    last = renamed.architecture()["extensions"][-1]
    assert (last["use_extensions"], last["gate_init"]) == (["lime"], "lime")
    before, after = predictions(net), predictions(renamed)
    assert torch.equal(after["lime"], before["gold"])
    assert all(torch.equal(after[task], before[task]) for task in (*BASE, "pink"))
    merged = merge(extended(small, ("gold", {})), renamed)
    assert torch.equal(predictions(merged)["lime"], before["gold"])
    assert torch.equal(predictions(merged)["pink"], before["pink"])


def test_names_that_cannot_be_are_refused(small):
    net = extended(small, ("gold", {}))
    for old, new, message in (
        ("red", "lime", "'red' cannot be renamed.*: gold"),
        ("pink", "lime", "'pink' cannot be renamed"),
        ("gold", "red", "'red' exists already"),
        ("gold", "a b", "'a b'"),
        ("gold", "mean", "reserved"),
    ):
        with pytest.raises(UserError, match=message):
            rename_task(net, old, new)


def test_a_changed_task_does_not_pass_the_check(small):
    one, other = extended(small, ("gold", {})), extended(small, ("pink", {}))
    merged = merge(one, other)
    same = {name: name for name in other.task_names}
    assert list(compare_tasks(merged, [(one, {}), (other, same)])) == list(same)
    with torch.no_grad():
        gate = merged.unet.output.conv.gate.get_buffer("weights_pink")
        gate[0, 0] += 1e-6
    for names in ({"pink": "pink"}, {"pink": "gold"}, {"red": "red", "pink": "pink"}):
        with pytest.raises(UserError, match="would not predict as it did"):
            list(compare_tasks(merged, [(other, names)]))
    assert list(compare_tasks(merged, [(one, {"gold": "gold"})])) == ["gold"]


def test_cards_join_and_the_first_counts():
    one = ModelCard(
        voxel_size_um=(0.29, 0.29, 0.29),
        tasks={"red": TaskCard(target_mean=1.0), "gold": TaskCard()},
        resize="paper",
    )
    other = ModelCard(
        voxel_size_um=(0.29, 0.29, 0.2900001),
        tasks={"red": TaskCard(target_mean=2.0), "pink": TaskCard(target_mean=3.0)},
        resize="fast",
        window=(8, 16, 16),
    )
    both = merge_cards(one, other)
    assert list(both.tasks) == ["red", "gold", "pink"]
    assert both.task("red").target_mean == 1.0
    assert both.task("pink") == other.task("pink")
    assert (both.resize, both.window) == ("paper", (8, 16, 16))
    assert merge_cards(ModelCard(), other).voxel_size_um == other.voxel_size_um


def test_models_that_see_other_images_are_refused():
    mine = ModelCard(voxel_size_um=(0.29, 0.29, 0.29))
    for other in (
        ModelCard(voxel_size_um=(0.29, 0.11, 0.11)),
        ModelCard(normalization="none"),
    ):
        with pytest.raises(UserError, match="only models that see the same images"):
            merge_cards(mine, other)
