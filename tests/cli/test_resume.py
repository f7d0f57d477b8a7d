"""A run that is killed goes on and ends as if nothing had happened."""

import random
import time
from pathlib import Path

import pytest

from continual_repmode.results import RunFolder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, run_tiny):
    work = tmp_path_factory.mktemp("undisturbed")
    done = run_tiny(work, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    return RunFolder(work / "run")


def without_times(results):
    costs = [{**cost, "wall_time_s": None} for cost in results["costs"]]
    return {**results, "costs": costs, "command": None}


def watch(folder: RunFolder) -> list[Path]:
    """The files that appear as a run proceeds."""
    return [
        folder.state / "training.pt",
        folder.checkpoint(0),
        folder.checkpoint(1),
    ]


def kill_after(process, folder, changes, delay_s):
    """Kill -9 when the watched files have changed that often, and a little later."""
    seen, last = 0, {}
    while process.poll() is None and seen < changes:
        for file in watch(folder):
            stamp = file.stat().st_mtime_ns if file.is_file() else None
            if stamp is not None and last.get(file) != stamp:
                last[file] = stamp
                seen += 1
        time.sleep(0.002)
    time.sleep(delay_s)
    process.kill()
    process.communicate()


def test_killed_at_three_random_moments_it_ends_with_the_same_results(
    tmp_path, spawn_tiny, spawn, command, undisturbed
):
    rng = random.Random(20261122)
    folder = RunFolder(tmp_path / "run")
    process = spawn_tiny(tmp_path, "hydra.run.dir=run")
    kill_after(process, folder, changes=rng.randint(1, 3), delay_s=rng.random() / 5)
    assert folder.records() == []  # killed within the first experience
    for changes in (rng.randint(2, 4), rng.randint(1, 2)):
        process = spawn("run", "resume=run", cwd=tmp_path)
        kill_after(process, folder, changes, delay_s=rng.random() / 5)
    assert not folder.results.is_file() or len(folder.records()) == 1

    done = command("run", "resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for experience in (0, 1):
        found = folder.checkpoint(experience).read_bytes()
        assert found == undisturbed.checkpoint(experience).read_bytes()
    expected = without_times(undisturbed.read_results())
    assert without_times(folder.read_results()) == expected
    assert folder.image_metrics.read_text() == undisturbed.image_metrics.read_text()
    assert not folder.state.exists()


def test_resuming_a_finished_run_changes_nothing(command, undisturbed):
    before = undisturbed.read_results()
    done = command("run", f"resume={undisturbed.path}", cwd=undisturbed.path.parent)
    assert done.returncode == 0, done.stderr
    assert undisturbed.read_results() == before


def test_a_folder_that_is_no_run_is_told(command, tmp_path):
    done = command("run", "resume=nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: resume=nowhere: no config.yaml there")


def test_resume_takes_no_other_settings(command, tmp_path):
    done = command("run", "resume=x", "seed=1", cwd=tmp_path)
    assert done.returncode == 2
    assert "give it alone" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["replay", "ewc"])
def test_a_strategy_with_a_memory_goes_on_to_the_same_results(
    tmp_path, run_tiny, spawn_tiny, command, strategy
):
    chosen = f"strategy={strategy}"
    whole = RunFolder(tmp_path / "whole")
    done = run_tiny(tmp_path, chosen, "hydra.run.dir=whole")
    assert done.returncode == 0, done.stderr

    folder = RunFolder(tmp_path / "run")
    process = spawn_tiny(tmp_path, chosen, "hydra.run.dir=run")
    kill_after(process, folder, changes=6, delay_s=0)  # within the second experience
    assert len(folder.records()) == 1
    done = command("run", "resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert folder.checkpoint(1).read_bytes() == whole.checkpoint(1).read_bytes()
    assert without_times(folder.read_results()) == without_times(whole.read_results())
    assert folder.read_results()["strategy"] == strategy
    assert not folder.state.exists()
