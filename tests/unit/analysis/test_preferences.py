import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from continual_repmode.analysis.gating import GatingRow, gating_rows
from continual_repmode.analysis.preferences import (
    STRUCTURE_SCALE_UM,
    block_extents,
    earlier_tasks,
    gate_distances,
    mean_distances,
    part_extents,
    tasks_by_scale,
)
from continual_repmode.models import GatingTable
from continual_repmode.tasks import TASKS


def row(
    block: str, task: str, expert: str, extent: int, weight: float, experience: int = 0
) -> GatingRow:
    part = block.split(".")[0].rstrip("0123456789")
    return GatingRow(experience, part, block, 1, task, expert, extent, weight, 0.0)


def table(block: str, task: str, weights: dict[str, list[float]]) -> GatingTable:
    return GatingTable(block, task, tuple(weights), torch.tensor([*weights.values()]))


def test_every_task_of_the_paper_has_a_scale():
    assert set(STRUCTURE_SCALE_UM) == set(TASKS)


def test_the_preferred_extent_weighs_kernel_sizes_by_their_gates():
    rows = [
        row("encoder1.conv1", "dna", "conv5", 5, 0.75),
        row("encoder1.conv1", "dna", "conv1", 1, 0.25),
        row("encoder1.conv2", "dna", "conv5", 5, 0.25),
        row("encoder1.conv2", "dna", "conv1", 1, 0.75),
        row("decoder1.conv1", "dna", "conv5", 5, 0.0),
        row("decoder1.conv1", "dna", "conv1", 1, 1.0),
    ]

    extents = {"encoder1.conv1": 4.0, "encoder1.conv2": 2.0, "decoder1.conv1": 1.0}
    assert block_extents(rows) == {"dna": extents}
    assert [
        (e.part, e.extent_px, e.structure_scale_um) for e in part_extents(rows)
    ] == [
        ("encoder", 3.0, 10.0),
        ("decoder", 1.0, 10.0),
    ]


def test_the_preferred_extent_is_a_mean_whatever_the_weights_sum_to():
    rows = [
        row("output", "dna", "conv5", 5, 0.9),
        row("output", "dna", "conv1", 1, 0.9),
    ]

    assert block_extents(rows)["dna"]["output"] == pytest.approx(3.0)


def test_a_structure_of_unknown_size_has_no_scale_and_comes_last():
    rows = [row("output", t, "conv5", 5, 1.0) for t in ("mine", "dna", "cell_membrane")]

    assert part_extents(rows)[0].structure_scale_um is None
    assert tasks_by_scale(rows) == ["cell_membrane", "dna", "mine"]


def test_earlier_tasks_are_those_of_earlier_experiences(net):
    learned_in = {"dna": 0, "nucleolus": 0, "mitochondria": 1, "cell_membrane": 2}

    earlier = earlier_tasks(gating_rows(net, learned_in))

    assert earlier == {
        "mitochondria": ["dna", "nucleolus"],
        "cell_membrane": ["dna", "nucleolus", "mitochondria"],
    }
    assert earlier_tasks(gating_rows(net)) == {}


def test_distances_agree_with_scipy_on_renormalized_shared_experts(net):
    distances = gate_distances(net.gating_weights(), "cell_membrane", ["mitochondria"])

    gates = {n: block.conv.gate for n, block in net.blocks().items()}
    shared = gates["output"].experts["mitochondria"]
    assert [distance.block for distance in distances] == list(gates)
    for distance in distances:
        gate = gates[distance.block]
        new = gate("cell_membrane").double().numpy()
        rows = [gate.experts["cell_membrane"].index(expert) for expert in shared]
        root = jensenshannon(new[rows], gate("mitochondria").double().numpy(), base=2)
        assert distance.divergence == pytest.approx(np.mean(root**2), rel=1e-6)


def test_an_expert_of_its_own_does_not_make_a_task_different():
    tables = [
        table("output", "old", {"conv5": [0.6], "conv1": [0.4]}),
        table(
            "output", "new", {"conv5": [0.3], "conv1": [0.2], "extension_new": [0.5]}
        ),
    ]

    (distance,) = gate_distances(tables, "new", ["old"])

    assert distance.divergence == pytest.approx(0, abs=1e-9)


def test_gates_without_a_common_expert_are_one_bit_apart():
    tables = [
        table("output", "old", {"conv5": [1.0, 0.0], "conv1": [0.0, 1.0]}),
        table("output", "new", {"conv5": [0.0, 1.0], "conv1": [1.0, 0.0]}),
    ]

    (distance,) = gate_distances(tables, "new", ["old"])

    assert distance.divergence == pytest.approx(1)


def softmax_columns(logits: list[list[float]]) -> torch.Tensor:
    return torch.tensor(logits, dtype=torch.float64).softmax(dim=0)


logits = st.lists(
    st.lists(st.floats(-200, 200), min_size=3, max_size=3), min_size=2, max_size=2
)


@given(logits, logits)
def test_the_distance_is_symmetric_and_between_none_and_one_bit(one, other):
    experts = ("conv5", "conv1")
    tables = [
        GatingTable("output", "a", experts, softmax_columns(one)),
        GatingTable("output", "b", experts, softmax_columns(other)),
    ]

    (there,) = gate_distances(tables, "a", ["b"])
    (back,) = gate_distances(tables, "b", ["a"])
    (itself,) = gate_distances(tables, "a", ["a"])

    assert there.divergence == pytest.approx(back.divergence, abs=1e-12)
    assert 0 <= there.divergence <= 1 + 1e-12
    assert itself.divergence == 0


def test_the_nearest_task_has_the_smallest_mean_over_all_blocks():
    def gates(task: str, encoder: float, decoder: float) -> list[GatingTable]:
        return [
            table("encoder1.conv1", task, {"conv5": [encoder], "conv1": [1 - encoder]}),
            table("decoder1.conv1", task, {"conv5": [decoder], "conv1": [1 - decoder]}),
        ]

    tables = [*gates("new", 0.5, 0.5), *gates("a", 0.5, 0.9), *gates("b", 0.6, 0.6)]

    distances = gate_distances(tables, "new", ["a", "b"])

    assert list(mean_distances(distances)) == ["b", "a"]
    assert list(mean_distances(distances, "encoder")) == ["a", "b"]
    by_hand = [d.divergence for d in distances if d.other == "a"]
    assert mean_distances(distances)["a"] == pytest.approx(sum(by_hand) / 2)
