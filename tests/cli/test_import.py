"""``continual-repmode import``: checkpoints of the published programs.

What they are and compute is said again in ``tests/data/published_programs.py``.
"""

import argparse
import functools
import os

import numpy as np
import pytest
import torch
from published_programs import (
    fnet_forward,
    fnet_state,
    repmode_forward,
    repmode_state,
)
from scipy.ndimage import gaussian_filter

from continual_repmode.__main__ import main
from continual_repmode.errors import UserError
from continual_repmode.extending import ExtensionSettings, extend_model
from continual_repmode.models import RepModeUNet, fingerprint, load_model, read_card
from continual_repmode.published_weights import import_weights
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume

LABELS = ["alpha_tubulin", "dna", "fibrillarin"]
TASKS = ["microtubule", "dna", "nucleolus"]


def checkpoint(state, **content):
    """What the programs hand to ``torch.save``."""
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1}]}
    return {
        "nn_module": "RepMode",
        "opts": argparse.Namespace(adopted_datasets=LABELS, lr=1e-4, gpu_ids=[0]),
        "nn_state": state,
        "optimizer_state": optimizer,
        "count_iter": 12,
        "count_epoch": 3,
        **content,
    }


@pytest.fixture
def save(tmp_path):
    """Write a checkpoint; return its path."""

    def save(content, name="model.p", **options):
        torch.save(content, tmp_path / name, **options)
        return tmp_path / name

    return save


def doubles(state):
    return {n: t.double() if t.is_floating_point() else t for n, t in state.items()}


def light(side=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 1, side, side, side, generator=generator, dtype=torch.double)


@pytest.mark.parametrize(("width", "depth"), [(3, 1), (2, 2), (2, 4)])
def test_a_release_of_repmode_predicts_the_same_for_every_task(save, width, depth):
    state = repmode_state(3, width, depth)
    net, card = import_weights([save(checkpoint(state))], "repmode")
    assert isinstance(net, RepModeUNet)
    assert net.task_names == tuple(TASKS)
    assert (net.width, net.depth, net.training) == (width, depth, False)
    assert card.voxel_size_um == (0.29, 0.29, 0.29)
    x = light()
    with torch.no_grad():
        for label in range(3):
            expected = repmode_forward(doubles(state), depth, x, label)
            assert expected.std() > 0.005
            found = net.double()(x, label)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(net(x, 0), net(x, 1))


@pytest.mark.parametrize(("width", "depth"), [(2, 2), (2, 4)])
def test_fnets_become_one_model_that_predicts_the_same(save, width, depth):
    states = [fnet_state(width, depth, seed) for seed in (1, 2)]
    paths = [
        save({"nn_state": state, "optimizer_state": {}, "count_iter": 5}, f"{k}.p")
        for k, state in enumerate(states)
    ]
    net, _ = import_weights(paths, "fnet", ("dna", "golgi"))
    x = light()
    with torch.no_grad():
        for label, state in enumerate(states):
            expected = fnet_forward(doubles(state), depth, x)
            assert expected.std() > 0.005
            found = net.double()(x, label)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_files_of_all_ages_and_of_several_gpus_are_the_same_network(save):
    state = repmode_state(3, 2, 1)
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    without = {name: t for name, t in state.items() if name not in counters}
    files = {
        "legacy.p": (checkpoint(state), {"_use_new_zipfile_serialization": False}),
        "gpus.p": (checkpoint({f"module.{n}": t for n, t in state.items()}), {}),
        "old.p": (checkpoint(without), {}),
        "double.p": (checkpoint(doubles(state)), {}),
        "state.pth": (state, {}),
    }
    found = [
        import_weights([save(content, name, **options)], "repmode", TASKS)[0]
        for name, (content, options) in files.items()
    ]
    expected, *others = ([fingerprint(net, task) for task in TASKS] for net in found)
    assert all(other == expected for other in others)
    assert found[3].unet.output.conv.gate.linear.weight.dtype == torch.float32


class Evil:
    """Runs a command where pickle would rebuild it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def test_nothing_in_a_file_is_run(save, tmp_path):
    mark = tmp_path / "was_run"
    for name, extra in {
        "nt.system|posix.system": Evil(mark),
        "functools.partial": functools.partial(int, "3"),
        "torch.nn.modules.loss.MSELoss": torch.nn.MSELoss(),
    }.items():
        for content in (
            checkpoint(repmode_state(3, 2, 1), extra=extra),
            checkpoint(
                repmode_state(3, 2, 1), opts=argparse.Namespace(criterion=extra)
            ),
        ):
            with pytest.raises(UserError, match=rf"holds ({name}), which is neither"):
                import_weights([save(content)], "repmode")
    assert not mark.exists()


def test_what_is_no_published_network_is_refused_in_one_line(save, tmp_path):
    state, fnet = repmode_state(3, 2, 1), fnet_state(2, 1)
    gate, pool = "bottle_block.conv2.gate.bias", "conv_out.expert_avg3x3_pool"
    first = "encoder_block1.conv_more.conv1.expert_conv3x3_conv"
    lacking = {name: t for name, t in state.items() if name != gate}
    unknown = [*LABELS, "zo1"]
    (tmp_path / "text.p").write_text("no weights")
    whole = save(checkpoint(state), "whole.p").read_bytes()
    (tmp_path / "cut.p").write_bytes(whole[: len(whole) // 2])
    for content, source, tasks, told in (
        (lacking, "repmode", (), f"lacks {gate}; only networks as they were"),
        (state | {"se.weight": torch.ones(2)}, "repmode", (), "also has se.weight"),
        (state | {gate: torch.ones(3)}, "repmode", (), "its tensors do not fit"),
        (state | {gate: torch.full((20,), torch.nan)}, "repmode", (), "not finite"),
        (state | {pool: torch.ones(3, 3, 3)}, "repmode", (), "is no average"),
        (state | {first: torch.ones(2, 1, 5, 5, 5)}, "repmode", (), "do not fit"),
        (fnet, "repmode", (),
            "is no network of repmode; it is one of fnet: use --from"),
        (state, "fnet", ("dna",), "no network of fnet; it is one of repmode: use --f"),
        ({"a": torch.ones(1)}, "fnet", ("dna",), "give a checkpoint that this program"),
        (state, "repmode", ("a", "b"),
            "are 2, but .* has 3: microtubule,dna,nucleolus"),
        (state, "repmode", sorted(TASKS), "are in another order than in"),
        (state, "repmode", ("a", "a", "b"), "'a'"),
        (fnet, "fnet", (), "give one name for each file, 1 in all"),
        ({"a": 3}, "fnet", ("dna",), "has no nn_state with the tensors"),
        ("text.p", "fnet", ("dna",), "text.p: (cannot be read|holds)"),
        ("cut.p", "repmode", (), "cut.p: cannot be read as a file of torch.save"),
        ("none.p", "repmode", (), "none.p: no such file"),
    ):  # fmt: skip
        file = content if isinstance(content, str) else "x.p"
        if file == "x.p":
            save(checkpoint(content))
            (tmp_path / "model.p").replace(tmp_path / file)
        with pytest.raises(UserError, match=told) as caught:
            import_weights([tmp_path / file], source, tasks)
        assert "\n" not in str(caught.value)
    options = argparse.Namespace(adopted_datasets=unknown)
    for content in (checkpoint(state, opts=options), state):
        with pytest.raises(
            UserError, match="does not name its 3 tasks; give them with"
        ):
            import_weights([save(content)], "repmode")


def volume(path, seed):
    rng = np.random.default_rng(seed)
    bright = gaussian_filter(rng.normal(size=(8, 24, 24)), 1)
    both = np.stack([bright, -bright]) / bright.std()
    save_volume(
        path,
        (1000 + 100 * both).astype(np.uint16),
        axes="CZYX",
        voxel_size_um=(0.29,) * 3,
        channel_names=["Bright", "EGFP"],
    )


def test_an_imported_model_predicts_and_its_tasks_stay_the_same_when_it_grows(
    save, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    save(checkpoint(repmode_state(3, 2, 1)))
    words = ["import", "model.p", "--from", "repmode", "--out", "base.safetensors"]
    assert main(words) == 0
    assert (
        "base.safetensors: microtubule, dna, nucleolus (3 in all), "
        in capsys.readouterr().out
    )
    assert main(words) == 2
    assert "exists; give another name or --overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--voxel-size", "0", "1", "1"]) == 2
    assert "--voxel-size 0 1 1: use micrometres" in capsys.readouterr().err
    card = read_card("base.safetensors")
    assert card.run["imported"]["from"] == "repmode"
    assert card.run["imported"]["files"][0]["file"] == "model.p"
    rows = ["task,split,path,channel_signal,channel_target"]
    for seed, split in enumerate(["train", "train", "valid", "test"]):
        volume(tmp_path / f"{seed}.ome.tif", seed)
        rows.append(f"lysosome,{split},{seed}.ome.tif,Bright,EGFP")
    (tmp_path / "lab.csv").write_text("\n".join(rows) + "\n")

    words = ["--tasks", "dna", "--out", "out", "--window", "8", "16", "16"]
    assert main(["predict", "base.safetensors", "0.ome.tif", *words]) == 0
    assert open_volume("out/0.ome.zarr").channel_names == ("dna",)
    settings = ExtensionSettings(
        epochs=1, patch_size=(8, 16, 16), image_curve=(), device="cpu"
    )
    extended = extend_model(
        "base.safetensors", "lab.csv", "lysosome", folder="one", settings=settings
    )
    rename = ["--rename", "lysosome=more", "--out", "both.safetensors"]
    assert main(["merge", str(extended.model), str(extended.model), *rename]) == 0

    base, both = load_model("base.safetensors"), load_model("both.safetensors")
    assert both.task_names == (*TASKS, "lysosome", "more")
    assert [p["unchanged"] for p in extended.record.proofs] == [True] * 3
    x = light(8).float()
    for task in TASKS:
        assert fingerprint(both, task) == fingerprint(base, task)
        label = base.task_label(task)
        with torch.no_grad():
            assert torch.equal(both(x, label), base(x, label))
