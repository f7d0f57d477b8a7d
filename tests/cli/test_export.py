"""``continual-repmode export`` as a user calls it."""

import pytest
import torch

from continual_repmode.__main__ import call
from continual_repmode.models import RepModeUNet
from continual_repmode.models.model_card import ModelCard
from continual_repmode.models.model_file import save_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Go to a folder that holds a small model of two tasks and an extension."""
    torch.manual_seed(0)
    net = RepModeUNet(("dna", "nucleolus"), width=2, depth=1)
    net.add_task("lysosome")
    save_model(net, tmp_path / "cells.v1.safetensors", ModelCard())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export(*words: str) -> int:
    return call("export", ["cells.v1.safetensors", *words])


def names(folder, pattern="*.pt2"):
    return sorted(path.name for path in folder.glob(pattern))


def test_one_task_is_written_and_what_was_measured_is_told(folder, capsys):
    assert export("--task", "lysosome", "--format", "torch") == 0
    assert names(folder) == ["cells.v1_lysosome.pt2"]
    told = capsys.readouterr().out
    assert told.startswith("cells.v1_lysosome.pt2: lysosome, ")
    assert "of the largest value)" in told
    assert len(told.splitlines()) == 1


def test_all_tasks_are_written_to_files_of_their_own(folder):
    assert export("--task", "all", "--format", "torch", "--out", "made/here") == 0
    assert names(folder / "made/here") == [
        "cells.v1_dna.pt2",
        "cells.v1_lysosome.pt2",
        "cells.v1_nucleolus.pt2",
    ]


def test_a_file_is_replaced_only_if_asked(folder, capsys):
    path = folder / "mine.pt2"
    path.write_text("precious")
    words = ("--task", "dna", "--format", "torch", "--out", "mine.pt2")
    assert export(*words) == 2
    assert path.read_text() == "precious"
    assert "mine.pt2: exists; give --overwrite" in capsys.readouterr().err
    assert export(*words, "--overwrite") == 0
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "golgi", "--format", "torch"], "'golgi' is unknown"),
        (["--task", "dna", "--format", "tflite"], "invalid choice: 'tflite'"),
        (["--format", "torch"], "--task"),
        (["--task", "dna", "--format", "torch", "--out", "a.txt"], "is .pt2"),
        (["--task", "all", "--format", "torch", "--out", "a.pt2"], "is a folder"),
        (
            ["--task", "dna", "--format", "torch", "--license", "MIT"],
            "keeps no license",
        ),
        (["--task", "dna", "--format", "bioimageio"], "needs --license and --author"),
        (
            ["--task", "dna", "--format", "torch", "--voxel-size", "0", "1", "1"],
            "use sizes above 0",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(
    folder, capsys, words, message
):
    assert export(*words) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert len(told.splitlines()) == 1
    assert names(folder, "*") == ["cells.v1.safetensors"]


def test_a_missing_model_is_told(folder, capsys):
    assert call("export", ["no.safetensors", "--task", "a", "--format", "torch"]) == 2
    assert "no.safetensors: no such file" in capsys.readouterr().err
