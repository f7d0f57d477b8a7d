"""Somebody else's package: chosen, run and told of as ours.

``tests/data/their_package`` is such a package as pip would have installed it.
"""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from continual_repmode.results import RunFolder
from continual_repmode.synthetic import simulate_field

PACKAGE = Path(__file__).parent.parent / "data" / "their_package"
TASKS = ("dna", "nucleolus")
SETTINGS = (
    "scenario=mine.yaml",
    "data=manifest",
    "data.manifest=theirs.csv",
    "data.patch_size=[8,16,16]",
    "model.width=2",
    "train.epochs=1",
    "train.extension_epochs=1",
    "hydra.run.dir=run",
)


def install(package, monkeypatch):
    known = [p for p in (os.environ.get("PYTHONPATH"),) if p]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package), *known]))


@pytest.fixture
def work(tmp_path):
    """A folder with volumes that only their reader can read."""
    rows = []
    for seed, task in enumerate(TASKS):
        light, fluorescence = simulate_field(seed, (12, 32, 96), task)
        with (tmp_path / f"{task}.theirs").open("wb") as file:
            np.save(file, np.stack([light, fluorescence]).astype(np.float32))
        for split, x0, x1 in (("train", 0, 48), ("valid", 48, 72), ("test", 72, 96)):
            row = {"task": task, "path": f"{task}.theirs", "split": split}
            row |= {"channel_signal": "Bright", "channel_target": "EGFP"}
            rows.append(row | {"x0": x0, "x1": x1})
    with (tmp_path / "theirs.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "mine.yaml").write_text("experiences: [[dna], [nucleolus]]\n")
    return tmp_path


def test_a_strategy_a_network_a_reader_and_a_metric_serve_a_run(
    work, fresh_command, monkeypatch
):
    install(PACKAGE, monkeypatch)
    words = ("strategy=theirs", "model=theirs", "metrics=[bias,dice]")
    done = fresh_command("run", *SETTINGS, *words, cwd=work)
    assert done.returncode == 0, done.stderr
    folder = RunFolder(work / "run")
    results = folder.read_results()
    assert results["strategy"] == "theirs"
    bias = results["metrics"]["bias"]
    assert all(value >= 0 for value in bias["result_matrix"][-1])
    assert bias["higher_is_better"] is False
    assert "option: theirs\n" in folder.config.read_text()
    assert ",bias,dice\n" in folder.image_metrics.read_text()
    told = fresh_command("info", str(folder.checkpoint(1)), cwd=work)
    assert "TheirNet" in told.stdout
    (work / "fields").mkdir()
    shutil.copy(work / "dna.theirs", work / "fields")
    words = ("fields", "--tasks", "dna", "--out", "out")
    predicted = fresh_command("predict", str(folder.checkpoint(1)), *words, cwd=work)
    assert predicted.returncode == 0, predicted.stderr
    assert (work / "out" / "dna.ome.zarr").is_dir()
    resumed = fresh_command("run", "resume=run", cwd=work)
    assert resumed.returncode == 0, resumed.stderr


def test_its_choices_and_its_users_mistakes_are_told_as_ours(
    work, fresh_command, monkeypatch
):
    install(PACKAGE, monkeypatch)
    (work / "dna.theirs").write_text("no array")
    told = {
        ("run", "--help"): "theirs",
        ("run", "strategy=theirs", "strategy.strength=-1"): (
            "error: strategy.strength=-1.0: must be at least 0"
        ),
        ("run", "model=theirs", *SETTINGS): (
            "error: model=theirs with strategy=repmode: there are no experts and gates "
        ),
        ("check", "theirs.csv"): "dna.theirs: not one of our files; save it again",
    }
    for words, expected in told.items():
        done = fresh_command(*words, cwd=work)
        assert expected in " ".join((done.stdout + done.stderr).split()), words
        assert "Traceback" not in done.stderr


def test_a_package_that_cannot_be_imported_is_named_when_it_is_needed(
    work, fresh_command, monkeypatch
):
    broken = shutil.copytree(PACKAGE, work / "broken")
    (broken / "theirs.py").write_text("import nothing_of_that_name\n")
    entry_points = broken / "theirs-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text(
        entry_points.read_text().partition("[continual_repmode.m")[0]
    )
    install(broken, monkeypatch)
    composed = fresh_command("run", "--cfg", "job", cwd=work)
    assert composed.returncode == 0, composed.stderr
    for words in (["strategy=theirs"], SETTINGS):
        done = fresh_command("run", *words, cwd=work)
        assert done.returncode == 2
        (line,) = done.stderr.strip().splitlines()
        assert "the package theirs offers 'theirs' among " in line
        assert "No module named 'nothing_of_that_name'; update or uninstall" in line
