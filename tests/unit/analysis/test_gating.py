import pytest
import torch

from continual_repmode.analysis.gating import (
    gating_rows,
    load_gating,
    part_of,
    read_gating_weights,
    write_gating_weights,
)
from continual_repmode.errors import UserError
from continual_repmode.models import RepModeUNet
from continual_repmode.results import RunFolder


def test_a_row_for_every_block_task_and_expert_the_task_uses(net):
    rows = gating_rows(net)

    base = set(net.blocks()["output"].conv.base_experts)
    used = {
        "dna": base,
        "mitochondria": base | {"extension_mitochondria"},
        "cell_membrane": base | {"extension_mitochondria", "extension_cell_membrane"},
    }
    for task, experts in used.items():
        for block in net.blocks():
            found = [r.expert for r in rows if (r.task, r.block) == (task, block)]
            assert len(found) == len(experts)
            assert set(found) == experts


def test_weights_are_means_over_channels_of_what_the_gate_gives(net):
    gate = net.blocks()["bottleneck.conv1"].conv.gate("nucleolus").tolist()

    rows = [
        row
        for row in gating_rows(net)
        if (row.block, row.task) == ("bottleneck.conv1", "nucleolus")
    ]

    for row, channels in zip(rows, gate, strict=True):
        mean = sum(channels) / len(channels)
        variance = sum((value - mean) ** 2 for value in channels) / len(channels)
        assert row.weight == pytest.approx(mean)
        assert row.std == pytest.approx(variance**0.5, abs=1e-7)
    assert sum(row.weight for row in rows) == pytest.approx(1)


def test_part_and_level_say_where_a_block_is():
    net = RepModeUNet(["dna"], width=1, depth=2)

    places = {row.block: (row.part, row.level) for row in gating_rows(net)}

    assert places["encoder1.conv2"] == ("encoder", 1)
    assert places["encoder2.conv1"] == ("encoder", 2)
    assert places["bottleneck.conv1"] == ("bottleneck", 3)
    assert places["decoder2.conv2"] == ("decoder", 2)
    assert places["output"] == ("output", 1)
    assert part_of("decoder12.conv1") == "decoder"


def test_extent_is_that_of_the_kernel_an_expert_equals():
    net = RepModeUNet(["a"], width=1, depth=1, experts=["conv7", "avg3_conv1", "conv1"])
    net.add_task("b", expert="avg5_conv1")

    extents = {row.expert: row.extent_px for row in gating_rows(net)}

    expected = {"conv7": 7, "avg3_conv1": 3, "conv1": 1, "extension_b": 5}
    assert extents == expected


def test_flat_kernels_are_measured_in_the_plane():
    net = RepModeUNet(["a"], width=1, depth=1, experts=["conv5"], axes="YX")

    assert {row.extent_px for row in gating_rows(net)} == {5}


def test_the_experience_of_a_task_is_known_only_if_given(net):
    rows = gating_rows(net, {"dna": 0, "mitochondria": 1})

    found = {row.task: row.experience for row in rows}
    assert found["dna"] == 0
    assert found["mitochondria"] == 1
    assert found["cell_membrane"] is None


def test_the_csv_gives_back_what_was_written(net, folder):
    write_gating_weights(folder, net)

    rows = read_gating_weights(folder)

    learned_in = {row.task: row.experience for row in rows}
    assert learned_in == {
        "dna": 0,
        "nucleolus": 0,
        "my_structure": 0,
        "mitochondria": 1,
        "cell_membrane": 2,
    }
    assert rows == gating_rows(
        net, {t: e for t, e in learned_in.items() if e is not None}
    )


def test_the_csv_of_a_network_outside_a_run_has_no_experiences(net, tmp_path):
    write_gating_weights(RunFolder(tmp_path), net)

    assert read_gating_weights(RunFolder(tmp_path)) == gating_rows(net)


def test_the_last_checkpoint_gives_rows_and_every_channel(net, folder):
    rows, tables = load_gating(folder)

    assert rows == read_gating_weights(folder)
    for loaded, original in zip(tables, net.gating_weights(), strict=True):
        assert (loaded.block, loaded.task) == (original.block, original.task)
        assert torch.equal(loaded.weights, original.weights)


def test_a_folder_without_experiences_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"no complete experience here; name the folder"
    ):
        load_gating(RunFolder(tmp_path))


def test_a_missing_or_damaged_csv_is_told_in_one_line(tmp_path):
    header = "experience,part,block,level,task,expert,extent_px,weight,std\n"
    row = "0,encoder,encoder1.conv1,1,dna"
    for content, message in (
        (None, "No such file"),
        ("", "is empty"),
        ("block,task\nencoder1.conv1,dna\n", "not a table of gating weights"),
        (f"{header}{row},conv5,5,much,0\n", "not a table of gating weights.*much"),
        (f"{header}{row}\n", "not a table of gating weights"),
    ):
        folder = RunFolder(tmp_path)
        if content is not None:
            folder.gating_weights.write_text(content)

        with pytest.raises(UserError, match=message) as caught:
            read_gating_weights(folder)
        assert "\n" not in str(caught.value)
