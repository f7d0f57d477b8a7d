import json

import pytest

from continual_repmode.errors import UserError
from continual_repmode.metrics.regression import METRICS
from continual_repmode.results import ExperienceRecord, RunFolder, read_json, write_json


def record(experience):
    return ExperienceRecord(
        experience=experience,
        tasks=["dna"],
        curve=[{"epoch": 1, "train_loss": 0.1 + 0.2, "valid_mse": None}],
        best_epoch=1,
        best_valid_mse=0.5,
        num_trained_parameters=3,
        train_iterations=7,
        proofs=[],
        rows=[{"task": "dna", "image": "a", **dict.fromkeys(METRICS, 1 / 3)}],
        wall_time_s={"train": 1.0, "eval": 0.5},
    )


def test_a_folder_is_held_once_and_left_as_it_was(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with (
        folder.held(),
        pytest.raises(UserError, match="run: in use by another process"),
        RunFolder(folder.path).held(),
    ):
        pass
    with RunFolder(folder.path).held():
        pass
    assert list(folder.path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    folder = RunFolder(tmp_path / "file" / "run")
    with (
        pytest.raises(UserError, match="choose a folder that can be written"),
        folder.held(),
    ):
        pass


def test_records_come_back_exactly_and_in_order(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.records() == []
    for experience in (0, 1):
        folder.write_record(record(experience))
    assert folder.records() == [record(0), record(1)]


def test_a_gap_ends_the_complete_experiences(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_record(record(0))
    folder.write_record(record(2))
    assert [r.experience for r in folder.records()] == [0]


def test_numbers_that_are_not_finite_become_null(tmp_path):
    write_json(tmp_path / "x.json", {"a": [float("nan"), 1.5], "b": float("inf")})
    assert read_json(tmp_path / "x.json") == {"a": [None, 1.5], "b": None}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "x.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert json.loads(file.read_text()) == {"a": 1}


def test_a_folder_without_results_says_how_to_finish_the_run(tmp_path):
    with pytest.raises(UserError, match="resume=FOLDER"):
        RunFolder(tmp_path).read_results()


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match=r"results\.json"):
        RunFolder(tmp_path).read_results()
