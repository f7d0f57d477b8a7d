import csv
import json
import math

import pytest

from continual_repmode.analysis.continual import (
    reference_values,
    result_matrix,
    summarize,
    write_image_metrics,
)
from continual_repmode.errors import UserError
from continual_repmode.results import RunFolder


@pytest.fixture
def records(make_record):
    """Tasks a and b jointly, then c, which costs a 0.2 and gives b 0.1."""
    return [
        make_record(0, ["a", "b"], {"a": [0.9, 0.7], "b": [0.5]}),
        make_record(1, ["c"], {"a": [0.7, 0.5], "b": [0.6], "c": [0.4]}, False),
    ]


def test_a_cell_is_the_mean_over_the_images_of_a_task(records):
    first, second = result_matrix(records, "r2")

    assert first == pytest.approx({"a": 0.8, "b": 0.5})
    assert second == pytest.approx({"a": 0.6, "b": 0.6, "c": 0.4})
    assert result_matrix(records, "mse")[0] == pytest.approx({"a": 0.2, "b": 0.5})


def test_rows_are_experiences_and_columns_tasks_in_order_of_arrival(records):
    summary = summarize(records)

    assert summary["tasks"] == ["a", "b", "c"]
    assert summary["experiences"] == [["a", "b"], ["c"]]
    matrix = summary["metrics"]["r2"]["result_matrix"]
    assert matrix[0] == [pytest.approx(0.8), 0.5, None]
    assert matrix[1] == pytest.approx([0.6, 0.6, 0.4])


def test_overall_counts_every_image_once_or_every_task_once(records):
    overall = summarize(records)["metrics"]["r2"]["overall"]

    assert overall["over_images"] == pytest.approx([2.1 / 3, 2.2 / 4])
    assert overall["over_tasks"] == pytest.approx([1.3 / 2, 1.6 / 3])


def test_worse_is_positive_forgetting_whichever_way_a_metric_points(records):
    for metric in ("r2", "mse"):
        scores = summarize(records)["metrics"][metric]
        lost = scores["forgetting"]
        assert lost["per_task"] == pytest.approx({"a": 0.2, "b": -0.1})
        assert lost["mean"] == pytest.approx(0.05)
        transfer = scores["backward_transfer"]["per_task"]
        assert transfer == pytest.approx({"a": -0.2, "b": 0.1})
        assert scores["forward_transfer"] is None


def test_forward_transfer_compares_the_tasks_that_the_reference_shares(
    records, make_record
):
    alone = summarize([make_record(0, ["c", "d"], {"c": [0.3], "d": [0.9]})])

    summary = summarize(records, json.loads(json.dumps(alone)))

    forward = summary["metrics"]["r2"]["forward_transfer"]
    assert forward["per_task"] == pytest.approx({"c": 0.1})
    assert summary["metrics"]["mse"]["forward_transfer"]["mean"] == pytest.approx(0.1)


def test_a_metric_that_not_all_images_have_is_averaged_over_those_that_have(
    records, tmp_path
):
    for record, rows in zip(records, ([0, 1], [1]), strict=True):  # images of task a
        for row, value in zip(rows, (0.25, 0.75), strict=False):
            record.rows[row]["dice"] = value
    records[1].rows[0]["never_heard_of"] = 1.0

    summary = summarize(records)["metrics"]

    assert list(summary) == ["mse", "mae", "r2", "pearson_r", "dice"]
    assert summary["dice"]["result_matrix"] == [[0.5, None, None], [0.25, None, None]]
    assert summary["dice"]["overall"]["over_images"] == [0.5, 0.25]
    assert summary["dice"]["forgetting"]["per_task"] == {"a": 0.25}
    del records[1].rows[1]["dice"]
    scores = summarize(records)["metrics"]["dice"]
    assert scores["forgetting"]["per_task"] == {}
    assert math.isnan(scores["overall"]["over_tasks"][1])
    folder = RunFolder(tmp_path)
    write_image_metrics(records, folder)
    rows = csv.DictReader(folder.image_metrics.read_text().splitlines())
    assert [row["dice"] for row in rows][:3] == ["0.25", "0.75", ""]


def test_one_changed_task_means_that_old_tasks_did_not_stay_unchanged(
    records, make_record
):
    assert summarize(records[:1])["old_tasks_unchanged"] is True
    assert summarize(records)["old_tasks_unchanged"] is False
    kept = make_record(1, ["c"], {"a": [0.8], "b": [0.5], "c": [0.4]})
    assert summarize([records[0], kept])["old_tasks_unchanged"] is True


def test_a_score_undefined_at_the_end_leaves_the_other_tasks_their_forgetting(
    make_record,
):
    records = [
        make_record(0, ["a", "b"], {"a": [0.9], "b": [0.5]}),
        make_record(1, ["c"], {"a": [math.nan], "b": [0.4], "c": [0.4]}),
    ]
    scores = summarize(records)["metrics"]["r2"]

    assert scores["forgetting"]["per_task"] == pytest.approx({"b": 0.1})
    assert math.isnan(scores["result_matrix"][1][0])


def test_an_undefined_metric_reads_back_from_a_run_folder_as_undefined(
    make_record, tmp_path
):
    folder = RunFolder(tmp_path)
    folder.write_record(make_record(0, ["a"], {"a": [0.5, math.nan]}))

    (value,) = result_matrix(folder.records(), "r2")[0].values()

    assert math.isnan(value)


def test_reference_values_are_those_right_after_learning(records):
    learned = reference_values(summarize(records), "r2")

    assert learned == pytest.approx({"a": 0.8, "b": 0.5, "c": 0.4})


def test_a_reference_without_a_matrix_is_refused():
    with pytest.raises(UserError, match=r"no result matrix of 'r2'; name the folder"):
        reference_values({"tasks": ["a"], "metrics": {"mse": {}}}, "r2")


def test_image_metrics_have_a_line_per_experience_and_image(records, tmp_path):
    folder = RunFolder(tmp_path)
    write_image_metrics(records, folder)

    with folder.image_metrics.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["experience"] for line in lines] == ["0"] * 3 + ["1"] * 4
    assert lines[1]["image"] == "a/1"
    assert float(lines[1]["r2"]) == 0.7


def test_publish_adds_header_costs_and_parameters_to_the_summary(folder, net):
    results = folder.read_results()

    assert results["strategy"] == "repmode"
    assert results["tasks"] == list(net.task_names)
    assert results["costs"][1] == {
        "wall_time_s": {"train": 2.0, "eval": 1.0},
        "num_trained_parameters": 10,
    }
    stored = [tensor for name, tensor in net.named_buffers() if "gate.weights" in name]
    total = sum(tensor.numel() for tensor in (*net.parameters(), *stored))
    assert stored
    assert results["parameters"]["total"] == total
    assert results["parameters"]["per_task"]["dna"] == net.num_task_parameters("dna")
    assert folder.image_metrics.is_file()
    assert folder.gating_weights.is_file()
