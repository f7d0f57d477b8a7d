"""What ``continual-repmode info`` tells of stored model files."""

import hashlib
import json
from pathlib import Path

import pytest

from continual_repmode.commands.info import main
from continual_repmode.errors import UserError
from continual_repmode.models import (
    ModelCard,
    RepModeUNet,
    TaskCard,
    load_model,
    save_model,
)
from continual_repmode.models.merging import base_sha256
from continual_repmode.models.methods.multinet import MultiNet

STORED = Path(__file__).parents[1] / "data"
MODEL = STORED / "model_v2.safetensors"


@pytest.fixture
def told(capsys):
    def told(*words: str | Path) -> str:
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    return told


def words_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_it_tells_network_tasks_images_and_origin(told):
    text = told(MODEL)
    lines = words_of(text)
    assert "network       RepModeUNet, 2,990 parameters, all tasks frozen" in text
    assert "voxel size    0.29 x 0.29 x 0.29 um (Z, Y, X)" in text
    assert "window        32 x 128 x 128 voxels (Z, Y, X)" in text
    assert "resizing      paper, zscore_first" in text
    assert "experts conv3, conv1, avg3_conv1" in text
    assert "run           scenario: lysosome_later" in text
    assert ["dna", "base", "51", "54/6/20", "0.510", "0.490", "0.700"] in lines
    added = ["lysosome", "added", "1", "1,296", "54/6/20"]
    assert any(words[:5] == added for words in lines)
    assert ["nucleolus", "102.0", "7.0", "3" * 24] in lines
    assert (
        "  peroxisome: expert conv1; private_bn no; use_extensions lysosome; "
        "gate_init lysosome"
    ) in text
    order = [text.index(f"\n{task} ") for task in load_model(MODEL).task_names]
    assert order == sorted(order)


def test_tables_are_aligned_and_lines_fit(told, tmp_path):
    long = "a_structure_with_a_name_of_remarkable_length"
    net = RepModeUNet(("endoplasmic_reticulum", long), 2, 1)
    net.add_task("golgi_apparatus", use_extensions=True)
    known = TaskCard(
        target_mean=54321.123,
        target_std=1234.5,
        num_images={"train": 1000, "valid": 100, "test": 100},
        data_sha256="ab" * 32,
        metrics={"mse": 12.3456, "mae": 1.0, "r2": -10.123, "pearson_r": -0.123},
    )
    card = ModelCard(
        tasks=dict.fromkeys(net.task_names, known),
        run={"merged": [{"file": "x" * 60, "sha256": "0" * 64}], "note": "\x1b[31mred"},
    )
    path = tmp_path / "net.safetensors"
    save_model(net, path, card)
    text = told(path, "--verify")
    assert max(map(len, text.splitlines())) <= 88
    assert "\x1b" not in text
    assert f"{long[:23]}…" in text
    assert "verified      3 of 3 fingerprints are as they were saved" in text
    for start in ("task  ", "golgi_apparatus  "):
        assert len({len(s) for s in text.splitlines() if s.startswith(start)}) == 2


def test_an_unknown_model_says_so(told, tmp_path):
    path = tmp_path / "net.safetensors"
    save_model(MultiNet(("dna",), width=2, depth=1), path)
    text = told(path, "--verify")
    assert "voxel size    not known" in text
    assert "frozen" not in text
    assert "of its base" not in text
    assert words_of(text)[-5][-4:] == ["-/-/-", "-", "-", "-"]


def test_json_has_all_of_it(told):
    facts = json.loads(told(MODEL, "--json"))
    assert facts["format_version"] == 2
    assert facts["num_bytes"] == MODEL.stat().st_size
    assert facts["sha256"] is None
    assert facts["window"] == [32, 128, 128]
    assert facts["architecture"]["width"] == 2
    net = load_model(MODEL)
    assert [task["name"] for task in facts["tasks"]] == list(net.task_names)
    assert [task["extension"] for task in facts["tasks"]] == [None, None, None, 1, 2]
    for task in facts["tasks"]:
        assert task["num_parameters"] == net.num_task_parameters(task["name"])
        assert len(task["data_sha256"]) == 64


def test_hashes_are_of_the_file_and_of_the_base(told):
    text = told(MODEL, "--verify")
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() in text
    assert f"of its base   {base_sha256(load_model(MODEL))}" in text
    older = json.loads(told(STORED / "model_v1.safetensors", "--verify", "--json"))
    assert older["base_sha256"] in text
    assert older["format_version"] == 1


def test_without_hashes_no_tensor_is_read(told, tmp_path):
    """A file of zeros behind the header says the same."""
    content = MODEL.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    copy = tmp_path / MODEL.name
    copy.write_bytes(content[:end] + bytes(len(content) - end))
    assert told(copy) == told(MODEL)


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(UserError, match=r"notes.txt: cannot be read"):
        main([str(tmp_path / "notes.txt")])
    with pytest.raises(UserError, match=r"nowhere: no such file"):
        main(["nowhere"])
