"""An interrupted and resumed run leaves one continuous curve, wherever it is kept."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from continual_repmode.errors import UserError
from continual_repmode.results import LOGGERS, RunFolder
from continual_repmode.training.trackers import TRACKERS, Tracker

SETTINGS = {"seed": 3, "train": {"epochs": 5}}
NAMES = ("train_loss/experience_0", "task_valid_mse/experience_0/dna")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    (folder.path / "checkpoints").mkdir()
    folder.checkpoint(0).write_bytes(b"weights")
    folder.figures.mkdir()
    Image.new("RGB", (4, 4)).save(folder.figures / "samples.png")
    return folder


def tell(tracker: Tracker, epochs: range, *, complete: bool) -> None:
    """Do what a run does; a step has 2 iterations, values follow from the step."""
    tracker.begin()
    for epoch in epochs:
        for name in NAMES:
            tracker.log_single_metric(name, value_at(2 * epoch), 2 * epoch)
        tracker.after_training_epoch(None, [])
    if complete:
        pictures = [tracker.folder.figures / "samples.png"]
        tracker.hand_over(pictures, [tracker.folder.checkpoint(0)], 10)
    tracker.end(complete=complete)


def value_at(step: int) -> float:
    return 1 / (1 + step)


def told_by_csv(folder: RunFolder) -> list[tuple[str, int, float]]:
    with folder.scalars.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["name"], int(row["step"]), float(row["value"])) for row in rows]


def told_by_tensorboard(folder: RunFolder) -> list[tuple[str, int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder.tensorboard))
    events.Reload()
    assert events.Tags()["images"] == ["samples"]
    return [(n, e.step, e.value) for n in NAMES for e in events.Scalars(n)]


def told_by_mlflow(folder: RunFolder) -> list[tuple[str, int, float]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(folder.path.parent / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("continual_repmode")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params == {"seed": "3", "train.epochs": "5"}
    kept = [
        client.list_artifacts(run.info.run_id, p) for p in ("checkpoints", "figures")
    ]
    assert [[Path(a.path).name for a in files] for files in kept] == [
        ["experience_0.safetensors"],
        ["samples.png"],
    ]
    return [
        (name, metric.step, metric.value)
        for name in NAMES
        for metric in client.get_metric_history(run.info.run_id, name)
    ]


def told_by_wandb(folder: RunFolder) -> list[tuple[str, int, float]]:
    parts = sorted(folder.path.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(parts) == 2
    assert len({part.name for part in parts}) == 1  # one id: one run when synced
    rows = [row for part in parts for row in history(part)]
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    files = parts[1].parent / "files"
    assert (files / "checkpoints" / "experience_0.safetensors").is_file()
    assert list(files.glob("media/images/samples_*.png"))
    return [(n, row["step"], row[n]) for n in NAMES for row in rows if n in row]


def history(path: Path) -> list[dict]:
    """Read the rows of a file of W&B: blocks of 32 kB with records in parts."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record, rows = path.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or its last part
            found = Record.FromString(record)
            record = b""
            if found.WhichOneof("record_type") == "history":
                items = found.history.item
                rows.append(
                    {
                        i.key or "/".join(i.nested_key): json.loads(i.value_json)
                        for i in items
                    }
                )
    return rows


TOLD = {
    "csv": told_by_csv,
    "tensorboard": told_by_tensorboard,
    "mlflow": told_by_mlflow,
    "wandb": told_by_wandb,
}


@pytest.mark.filterwarnings("default:::mlflow", "default:::wandb")
@pytest.mark.parametrize("name", TRACKERS)
def test_an_interrupted_and_resumed_run_is_one_continuous_curve(folder, name):
    for module in TRACKERS[name].modules:
        pytest.importorskip(module)
    tell(TRACKERS[name](folder, SETTINGS), range(1, 4), complete=False)
    tell(TRACKERS[name](folder, SETTINGS), range(2, 6), complete=True)
    told = TOLD[name](folder)
    expected = [(n, 2 * e, value_at(2 * e)) for n in NAMES for e in range(1, 6)]
    assert [(n, s, pytest.approx(v, rel=1e-6)) for n, s, v in sorted(told)] == sorted(
        expected
    )


def test_a_torn_line_of_the_csv_is_told_again(folder):
    tell(TRACKERS["csv"](folder), range(1, 4), complete=False)
    text = folder.scalars.read_text()
    folder.scalars.write_text(text[:-3])
    tell(TRACKERS["csv"](folder), range(3, 4), complete=True)
    assert folder.scalars.read_text() == text


def test_a_tracker_of_others_that_fails_is_a_note_and_tried_again(folder, capsys):
    class Failing(Tracker):
        name, modules = "mlflow", ("json",)
        broken, seen = True, 0

        def write(self, points):
            if self.broken:
                raise ConnectionError("the server is away")
            self.seen += len(points)

    tracker = Failing(folder)
    tracker.begin()
    tracker.log_single_metric("a", 1.0, 1)
    tracker.after_eval(None, [])
    assert "note: logger mlflow: the server is away" in capsys.readouterr().err
    tracker.broken = False
    tracker.end(complete=True)
    assert tracker.seen == 1


def test_settings_and_trackers_have_the_same_names(folder, monkeypatch):
    assert tuple(TRACKERS) == LOGGERS
    monkeypatch.setattr("continual_repmode.extras._is_installed", lambda name: False)
    with pytest.raises(UserError, match=r'pip install "\.\[wandb\]"'):
        TRACKERS["wandb"](folder)
