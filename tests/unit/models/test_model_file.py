import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from continual_repmode import checkpoints
from continual_repmode.checkpoints import write_tensors
from continual_repmode.errors import UserError
from continual_repmode.models import (
    ModelCard,
    TaskCard,
    load_model,
    read_card,
    read_model_header,
    save_model,
)
from continual_repmode.models.fingerprint import sha256_of_tensors
from continual_repmode.models.model_file import altered_tasks, read_structure

STORED = Path(__file__).parents[2] / "data"
"""Model files as each version wrote them, and what their tasks are to predict."""

VERSIONS = tuple(f"model_v{number}.safetensors" for number in (1, 2, 3))
READERS = (load_model, read_card, read_model_header, read_structure)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_round_trip_is_exact_in_evaluation_mode_and_draws_no_random_numbers(
    make_net, path, dtype
):
    net = make_net().to(dtype).train()
    save_model(net, path)
    state = torch.get_rng_state()
    loaded = load_model(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in loaded.modules())
    assert loaded.state_dict().keys() == net.state_dict().keys()
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
        assert loaded.state_dict()[name].dtype == tensor.dtype
    assert all(p.requires_grad for p in loaded.parameters())


def test_card_and_architecture_are_read_without_the_tensors(
    make_net, path, monkeypatch
):
    net = make_net()
    card = ModelCard(
        voxel_size_um=(0.29, 0.1, 0.1),
        window=(8, 16, 16),
        overlap=(0.5, 0.25, 0.25),
        tasks={"red": TaskCard()},
    )
    save_model(net, path, card)
    monkeypatch.setattr("continual_repmode.models.model_file.read_tensors", None)
    assert read_card(path) == card
    assert read_model_header(path)["architecture"] == net.architecture()
    structure = read_structure(path)
    assert structure.architecture() == net.architecture()
    assert {p.device.type for p in structure.parameters()} == {"meta"}
    for task in net.task_names:
        assert structure.num_task_parameters(task) == net.num_task_parameters(task)


def test_reading_the_structure_does_not_load_the_compiler_of_pytorch():
    code = (
        "import sys; from continual_repmode.models.model_file import read_structure; "
        f"read_structure({str(STORED / VERSIONS[-1])!r}); "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", VERSIONS)
def test_files_of_every_version_predict_what_they_did(name):
    net = load_model(STORED / name)
    tasks = json.loads((STORED / "model_tasks.json").read_text())
    assert list(tasks) == list(net.task_names)
    assert net.is_frozen
    probe = torch.linspace(-1, 1, 32).reshape(1, 1, 2, 4, 4).sin()
    for task, expected in tasks.items():
        found = sha256_of_tensors(net.task_state(task))
        assert found == expected["state_sha256"]
        prediction = net(probe, net.task_label(task))[0, 0, 0].flatten()
        torch.testing.assert_close(
            prediction, torch.tensor(expected["output"]), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("name", VERSIONS)
def test_files_of_every_version_say_what_their_runs_put_down(name):
    card = read_card(STORED / name)
    assert card.voxel_size_um == (0.29, 0.29, 0.29)
    assert card.normalization == "z-score of each channel of each image"
    assert card.versions["torch"] == "2.15.0"
    assert card.run == {
        "scenario": "lysosome_later",
        "strategy": "repmode",
        "seed": 3,
        "base_model": {"path": "base.safetensors", "sha256": "0" * 64},
        "experience": 2,
    }
    assert list(card.tasks) == list(load_model(STORED / name).task_names)
    assert (card.tasks["lysosome"].target_mean, card.tasks["lysosome"].target_std) == (
        103.0,
        8.0,
    )


@pytest.mark.parametrize("name", VERSIONS[1:])
def test_versions_2_and_3_say_more(name):
    card = read_card(STORED / name)
    assert (card.resize, card.order) == ("paper", "zscore_first")
    assert (card.window, card.overlap) == ((32, 128, 128), None)
    assert card.task("dna") == TaskCard(
        target_mean=100.0,
        target_std=5.0,
        num_images={"train": 54, "valid": 6, "test": 20},
        data_sha256="1" * 64,
        metrics={"mse": 0.49, "mae": 0.4, "r2": 0.51, "pearson_r": 0.7},
    )


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"voxel_size_um": "unknown", "target_intensity": {"dna": 3}, "mine": [1]},
        {"versions": ["1"], "normalization": None, "tasks": {}, "run": {}},
    ],
)
def test_whatever_users_put_into_files_of_version_1_is_kept(
    make_net, path, monkeypatch, metadata
):
    net = make_net()
    header = {"kind": "model", "architecture": net.architecture()}
    monkeypatch.setattr(checkpoints, "VERSION", 1)
    write_tensors(path, net.state_dict(), {**header, "metadata": metadata})
    assert read_card(path) == ModelCard(run=metadata)
    assert load_model(path).task_names == net.task_names


def test_one_flipped_bit_is_found(make_net, path):
    save_model(make_net(), path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged, its tensors are not those"):
        load_model(path)


def test_tasks_are_compared_with_their_fingerprints(make_net, path):
    net = make_net()
    net.add_task("nucleolus")
    save_model(net, path)
    assert altered_tasks(load_model(path), path) == ()
    gate = next(p for n, p in net.named_parameters() if "nucleolus" in n)
    with torch.no_grad():
        gate.add_(1)
    assert altered_tasks(net, path) == ("nucleolus",)
    older = STORED / "model_v2.safetensors"
    assert altered_tasks(load_model(older), older) is None


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_model_file_is_refused_in_one_line(
    make_net, path, monkeypatch, read
):
    with monkeypatch.context() as newer:
        newer.setattr(checkpoints, "VERSION", 99)
        save_model(make_net(), path)
    contents = [
        (path.read_bytes(), "version 99.*update continual_repmode"),
        (pickle.dumps({"weights": [1.0]}), "no safetensors"),
        (b"PK\x03\x04" + bytes(100), "no safetensors"),
        (b"\x89HDF\r\n", "no safetensors"),
    ]
    for name in VERSIONS:
        whole = (STORED / name).read_bytes()
        contents += [(whole[:kept], "truncated") for kept in (0, 7, 500, 5000, -1)]
    for content, message in contents:
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"net.safetensors: .*{message}") as error:
            read(path)
        assert "\n" not in str(error.value)


def test_a_card_with_unknown_entries_is_refused(path):
    write_tensors(path, {}, {"kind": "model", "metadata": {"mine": 1}})
    with pytest.raises(UserError, match=r"net.safetensors: metadata: .*unknown"):
        read_card(path)


@pytest.mark.parametrize("architecture", [None, [], {"network": "Other"}])
@pytest.mark.parametrize("read", [load_model, read_structure])
def test_unknown_architectures_are_refused(path, architecture, read):
    write_tensors(path, {}, {"kind": "model", "architecture": architecture})
    with pytest.raises(UserError, match=r"net.safetensors: its architecture"):
        read(path)


@pytest.mark.parametrize("read", READERS)
def test_files_that_hold_something_else_are_refused(path, read):
    write_tensors(path, {}, {"kind": "training"})
    with pytest.raises(UserError, match=r"net.safetensors: holds 'training'"):
        read(path)


def test_tensors_that_do_not_fit_are_refused_in_one_line(make_net, path):
    net = make_net()
    header = {"kind": "model", "architecture": net.architecture()}
    write_tensors(path, {"unet.x": torch.zeros(1)}, header)
    with pytest.raises(UserError, match=r"net.safetensors: its tensors") as error:
        load_model(path)
    assert "\n" not in str(error.value)
    write_tensors(path, {}, {"kind": "model"})
    with pytest.raises(UserError, match="architecture"):
        load_model(path)
