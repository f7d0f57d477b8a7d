"""The main job, as a user sees it: one tiny run, looked at from all sides."""

import csv
import json
import subprocess

import pytest

from continual_repmode.models import load_model, read_card
from continual_repmode.results import RunFolder

METRICS = ("mse", "mae", "r2", "pearson_r")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, run_tiny):
    """A finished run: what the process printed, and its folder."""
    work = tmp_path_factory.mktemp("anywhere")
    done = run_tiny(work, "hydra.run.dir=here/my run")
    assert done.returncode == 0, done.stderr
    return done, RunFolder(work / "here" / "my run")


@pytest.fixture(scope="module")
def results(finished):
    return finished[1].read_results()


def test_it_ends_with_a_table_and_says_where_the_results_are(finished):
    done: subprocess.CompletedProcess[str] = finished[0]
    assert "nuclear envelope" in done.stdout
    assert "all, mean over images" in done.stdout
    assert "old tasks unchanged to the bit: 2 of 2" in done.stdout
    assert done.stdout.rstrip().endswith("my run")


def test_without_a_terminal_it_prints_few_plain_lines(finished):
    lines = finished[0].stderr.splitlines()
    assert 4 < len(lines) < 25
    assert any(line.startswith("experience 2/2 (nucleolus): epoch") for line in lines)
    assert not any("\r" in line or "Warning" in line for line in lines)


def test_old_tasks_keep_every_metric_exactly(results):
    assert results["old_tasks_unchanged"] is True
    assert results["tasks"] == ["dna", "nuclear_envelope", "nucleolus"]
    for metric in METRICS:
        first, last = results["metrics"][metric]["result_matrix"]
        assert first[:2] == last[:2]
        assert first[2] is None
        assert results["metrics"][metric]["forgetting"] == {
            "per_task": {"dna": 0.0, "nuclear_envelope": 0.0},
            "mean": 0.0,
        }
        assert results["metrics"][metric]["backward_transfer"]["mean"] == 0.0


def test_proofs_carry_the_hashes_of_parameters_and_outputs(results):
    first, second = results["proofs"]
    assert first == []
    assert [proof["task"] for proof in second] == ["dna", "nuclear_envelope"]
    for proof in second:
        assert proof["before"] == proof["after"]
        assert len(proof["before"]["state_sha256"].removeprefix("parts:")) == 64
        assert len(proof["before"]["output_sha256"]) == 64


def test_the_matrix_is_the_mean_over_the_images_in_the_csv(finished, results):
    with finished[1].image_metrics.open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 + 3
    for metric in METRICS:
        for experience, row in enumerate(results["metrics"][metric]["result_matrix"]):
            for task, value in zip(results["tasks"], row, strict=True):
                found = [
                    float(r[metric])
                    for r in rows
                    if r["task"] == task and r["experience"] == str(experience)
                ]
                assert (sum(found) / len(found) if found else None) == value


def test_checkpoints_hold_the_network_after_each_experience(finished):
    folder = finished[1]
    base = load_model(folder.checkpoint(0))
    extended = load_model(folder.checkpoint(1))
    assert base.task_names == ("dna", "nuclear_envelope")
    assert extended.task_names == ("dna", "nuclear_envelope", "nucleolus")


def test_checkpoints_say_what_is_known_about_the_network(finished, results):
    first, second = (read_card(finished[1].checkpoint(index)) for index in (0, 1))
    assert second.voxel_size_um == (0.29, 0.29, 0.29)
    assert second.window == (16, 32, 32)
    assert second.versions == results["versions"]
    assert second.run["strategy"] == "repmode"
    assert (first.run["experience"], second.run["experience"]) == (0, 1)
    assert list(first.tasks) == ["dna", "nuclear_envelope"]
    assert list(second.tasks) == results["tasks"]
    assert second.tasks["dna"] == first.tasks["dna"]
    for column, (task, known) in enumerate(second.tasks.items()):
        assert known.num_images == {"train": 4, "valid": 1, "test": 1}, task
        assert len(known.data_sha256) == 64
        assert known.target_std > 0
        assert set(known.metrics) == set(METRICS)
        for metric, value in known.metrics.items():
            matrix = results["metrics"][metric]["result_matrix"]
            assert value == pytest.approx(matrix[1][column])


def test_parameters_per_task_are_counted(finished, results):
    net = load_model(finished[1].checkpoint(1))
    per_task = results["parameters"]["per_task"]
    assert per_task["nucleolus"] == net.num_task_parameters("nucleolus")
    assert results["costs"][1]["num_trained_parameters"] == per_task["nucleolus"]


def test_the_folder_says_how_to_repeat_the_run(finished, results):
    assert results["command"].startswith("continual-repmode run scenario=")
    assert results["seed"] == 0
    assert results["versions"]["torch"]
    assert "width: 4" in finished[1].config.read_text()


def test_figures_tables_samples_and_logs_are_there(finished):
    folder = finished[1]
    figures = {path.name for path in folder.figures.iterdir()}
    assert {"samples.png", "gating.png", "learning_curves.png"} <= figures
    assert any(name.startswith("result_matrix") for name in figures)
    assert len(list(folder.samples.glob("*.npz"))) == 3
    assert list(folder.tensorboard.iterdir())
    assert folder.gating_weights.stat().st_size > 0
    assert not folder.state.exists()


def test_a_folder_that_holds_a_finished_run_is_not_written_to(finished, run_tiny):
    folder = finished[1]
    before = folder.results.read_bytes()
    again = run_tiny(folder.path.parent, "hydra.run.dir=my run")
    assert again.returncode == 0, again.stderr  # there is nothing left to do
    assert folder.results.read_bytes() == before
    again = run_tiny(folder.path.parent, "hydra.run.dir=my run", "seed=1")
    assert again.returncode == 2
    assert "already holds a run with other settings" in again.stderr
    assert folder.results.read_bytes() == before


def test_naive_forgets_and_a_sweep_runs_both(run_tiny, tmp_path, finished):
    reference = finished[1].path
    done = run_tiny(
        tmp_path,
        "-m",
        "strategy=repmode,naive",
        "hydra.sweep.dir=both",
        f"reference='{reference}'",
    )
    assert done.returncode == 0, done.stderr
    repmode, naive = (
        json.loads((tmp_path / "both" / job / "results.json").read_text())
        for job in ("0", "1")
    )
    assert repmode["old_tasks_unchanged"] is True
    assert naive["old_tasks_unchanged"] is False
    assert naive["metrics"]["mse"]["forgetting"]["mean"] != 0.0
    transfer = repmode["metrics"]["mse"]["forward_transfer"]
    assert set(transfer["per_task"].values()) == {0.0}  # the same run as the reference


@pytest.mark.slow
def test_submitit_runs_a_sweep_and_the_same_command_goes_on(run_tiny, tmp_path):
    words = (
        "-m",
        "seed=0,1",
        "hydra.sweep.dir=sweep",
        "hydra/launcher=submitit_local",
    )
    done = run_tiny(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    paths = [tmp_path / "sweep" / job / "results.json" for job in "01"]
    results = [path.read_bytes() for path in paths]
    assert [json.loads(content)["seed"] for content in results] == [0, 1]

    # as if the second job had been put into the queue again in its second experience
    for path in (paths[1].parent / "experiences").glob("experience_1.json"):
        path.unlink()
    (paths[1].parent / "checkpoints" / "experience_1.safetensors").unlink()
    done = run_tiny(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    again = [json.loads(path.read_text()) for path in paths]
    for before, after in zip(map(json.loads, results), again, strict=True):
        assert {**before, "costs": 0} == {**after, "costs": 0}

    done = run_tiny(tmp_path, *words[:1], "model.depth=1,9", *words[2:])
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
