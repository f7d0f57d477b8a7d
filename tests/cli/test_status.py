"""``continual-repmode status``: what a run does, read from its folder."""

import pytest

from continual_repmode.__main__ import main
from continual_repmode.results import ExperienceRecord, RunFolder, write_json


def record(folder, experience, tasks):
    scores = {"mse": 1, "mae": 1, "r2": 0.25, "pearson_r": 1}
    folder.write_record(
        ExperienceRecord(
            experience=experience,
            tasks=tasks,
            curve=[],
            best_epoch=1,
            best_valid_mse=0.5,
            num_trained_parameters=1,
            train_iterations=1,
            proofs=[],
            rows=[{"task": task, "image": "a", **scores} for task in tasks],
            wall_time_s={},
        )
    )


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.config.write_text("seed: 0\n")
    record(folder, 0, ["dna", "nucleolus"])
    facts = {"since": 0.0, "pid": 17, "doing": "training", "experience": 1}
    facts |= {"experiences": 2, "tasks": ["lysosome"], "epoch": 3, "epochs": 9}
    facts |= {"seconds_left": 5.0, "said": "loss 0.5, about 00:05 left", "updated": 1.0}
    facts["run_seconds_left"] = 3000.0
    write_json(folder.progress, facts)
    return folder


@pytest.fixture(autouse=True)
def now(monkeypatch):
    """It is a moment after the last sign of the run."""
    monkeypatch.setattr("continual_repmode.commands.status.time.time", lambda: 1.0)


def said(capsys, *folders):
    assert main(["status", *map(str, folders)]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_run_is_running_interrupted_or_complete(folder, capsys):
    with folder.held():
        first, done, now, whole = said(capsys, folder.path)
    assert first.startswith(f"{folder.path}: running since 1970-01-01 ")
    assert ", process 17, last sign " in first
    assert done == "  experience 1 of 2 (dna, nucleolus): done, R2 of all images 0.250"
    assert now == (
        "  experience 2 of 2 (lysosome): epoch 3 of 9, loss 0.5, about 00:05 left"
    )
    assert whole == "  all of 2 experiences with their tests: about 50 min 00 s left"
    first, _, _, again = said(capsys, folder.path)
    assert first.startswith(f"{folder.path}: interrupted ")
    assert again.endswith(f"resume={folder.path}")
    record(folder, 1, ["lysosome"])
    first, *_ = said(capsys, folder.path)
    assert first == f"{folder.path}: complete, 1 s of work"


def test_another_folder_is_one_line(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 2
    assert "not the folder of a run" in capsys.readouterr().err


def test_a_real_run_tells_how_far_it_was(run_tiny, tmp_path, capsys):
    settings = "train.patience=1 train.validate_every=1 train.learning_rate=3 "
    settings += "train.epochs=60 loggers=csv strategy=repmode_paper hydra.run.dir=run"
    done = run_tiny(tmp_path, *settings.split())
    assert done.returncode == 0, done.stderr
    first, *others = said(capsys, tmp_path / "run")
    assert ": complete, " in first
    assert len(others) == 2
    records = RunFolder(tmp_path / "run").records()
    for found in records:  # the rate is far too high: early stopping ends it
        assert len(found.curve) == found.best_epoch + 1
    assert len(records[0].curve) < 60
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert (tmp_path / "run" / "scalars.csv").is_file()
