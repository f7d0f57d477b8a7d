"""A run that is killed goes on and ends as if nothing had happened."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from continual_repmode.files import sha256_of
from continual_repmode.models import load_model, read_card, save_model
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


def kill_after(process, folder, changes, delay_s, ending=signal.SIGKILL):
    """Send a signal when the watched files have changed that often, or later.

    Returns what the process told about its end.
    """
    seen, last = 0, {}
    while process.poll() is None and seen < changes:
        for file in watch(folder):
            stamp = file.stat().st_mtime_ns if file.is_file() else None
            if stamp is not None and last.get(file) != stamp:
                last[file] = stamp
                seen += 1
        time.sleep(0.002)
    time.sleep(delay_s)
    process.send_signal(ending)
    return process.communicate()[1]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_stopped_by_a_signal_it_says_how_and_the_same_command_goes_on(
    tmp_path, spawn_tiny, run_tiny, undisturbed, ending
):
    folder = RunFolder(tmp_path / "my run")
    process = spawn_tiny(tmp_path, "hydra.run.dir=my run")
    told = kill_after(process, folder, changes=1, delay_s=0, ending=ending)
    assert process.returncode == 75, told
    assert "Traceback" not in told
    last = f"interrupted; resume with: continual-repmode run 'resume={folder.path}'\n"
    assert told.endswith(last)
    assert (folder.state / "training.pt").is_file()

    done = run_tiny(tmp_path, "hydra.run.dir=my run")
    assert done.returncode == 0, done.stderr
    for experience in (0, 1):
        found = folder.checkpoint(experience).read_bytes()
        assert found == undisturbed.checkpoint(experience).read_bytes()
    assert folder.scalars.read_text() == undisturbed.scalars.read_text()


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
    assert folder.scalars.read_text() == undisturbed.scalars.read_text()
    assert not folder.state.exists()


def test_one_folder_is_worked_in_by_one_process(spawn_tiny, command, tmp_path):
    folder = RunFolder(tmp_path / "run")
    process = spawn_tiny(tmp_path, "hydra.run.dir=run", "train.epochs=200")
    while not folder.config.is_file():
        time.sleep(0.05)
    for words in (["resume=run"], ["hydra.run.dir=run", "strategy=naive"]):
        done = command("run", *words, cwd=tmp_path)
        assert done.returncode == 2, words
        assert "run: in use by another process" in done.stderr, words
    process.kill()
    process.communicate()
    with folder.held():  # a lock ends with its process
        assert not folder.results.exists()
    assert not (folder.path / ".lock").exists()


def test_resuming_a_finished_run_changes_nothing(command, undisturbed):
    before = undisturbed.read_results()
    done = command("run", f"resume={undisturbed.path}", cwd=undisturbed.path.parent)
    assert done.returncode == 0, done.stderr
    assert undisturbed.read_results() == before


@pytest.fixture
def half_done(undisturbed, tmp_path):
    """A run that was killed after its first experience."""
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(undisturbed.path, folder.path)
    folder.results.unlink()
    folder.checkpoint(1).unlink()
    (folder.path / "experiences" / "experience_1.json").unlink()
    return folder


def test_it_goes_back_past_a_checkpoint_with_one_other_byte(
    command, half_done, undisturbed
):
    path = half_done.checkpoint(0)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    done = command("run", "resume=run", cwd=half_done.path.parent)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "changed since" in line]
    assert told == [
        "run/checkpoints/experience_0.safetensors: changed since the run wrote it "
        "(another SHA-256); going back to the start of experience 0"
    ]
    for experience in (0, 1):
        expected = undisturbed.checkpoint(experience).read_bytes()
        assert half_done.checkpoint(experience).read_bytes() == expected
    expected = without_times(undisturbed.read_results())
    assert without_times(half_done.read_results()) == expected
    aside = {file.name for file in half_done.path.rglob("*.set-aside")}
    assert aside == {
        f"experience_0.{kind}.set-aside" for kind in ("json", "safetensors")
    }
    assert path.with_name(f"{path.name}.set-aside").read_bytes() == damaged


def test_a_weight_edited_behind_the_record_is_found(command, half_done):
    """Whoever adapts the hash of the file is caught by those of the tasks."""
    path = half_done.checkpoint(0)
    net = load_model(path)
    with torch.no_grad():
        next(p for p in net.parameters() if p.dim() == 5).add_(1e-3)
    save_model(net, path, read_card(path))
    record = half_done.path / "experiences" / "experience_0.json"
    content = json.loads(record.read_text())
    content["checkpoint_sha256"] = sha256_of(path)
    record.write_text(json.dumps(content))
    done = command("run", "resume=run", cwd=half_done.path.parent)
    assert done.returncode != 0
    assert "changed after training had ended" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_of_an_older_version_goes_on(command, half_done, undisturbed):
    record = half_done.path / "experiences" / "experience_0.json"
    content = json.loads(record.read_text())
    del content["checkpoint_sha256"]
    # taken over all bytes of a task at once, with nothing that says so
    content["task_sha256"] = dict.fromkeys(content["task_sha256"], "0" * 64)
    record.write_text(json.dumps(content))
    done = command("run", "resume=run", cwd=half_done.path.parent)
    assert done.returncode == 0, done.stderr
    expected = undisturbed.checkpoint(1).read_bytes()
    assert half_done.checkpoint(1).read_bytes() == expected


def test_a_folder_that_is_no_run_is_told(command, tmp_path):
    done = command("run", "resume=nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: resume=nowhere: no config.yaml there")


def test_resume_takes_no_other_settings(command, tmp_path):
    done = command("run", "resume=x", "seed=1", cwd=tmp_path)
    assert done.returncode == 2
    assert "give it alone" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("is_damaged", [False, True])
@pytest.mark.parametrize("strategy", ["replay", "ewc"])
def test_a_strategy_with_a_memory_goes_on_to_the_same_results(
    tmp_path, run_tiny, spawn_tiny, command, strategy, is_damaged
):
    chosen = f"strategy={strategy}"
    whole = RunFolder(tmp_path / "whole")
    done = run_tiny(tmp_path, chosen, "hydra.run.dir=whole")
    assert done.returncode == 0, done.stderr

    folder = RunFolder(tmp_path / "run")
    process = spawn_tiny(tmp_path, chosen, "hydra.run.dir=run")
    kill_after(process, folder, changes=6, delay_s=0)  # within the second experience
    assert len(folder.records()) == 1
    if is_damaged:
        (folder.state / "memory_0.pt").write_bytes(b"half")
    done = command("run", "resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("going back to the start of experience 0" in done.stderr) == is_damaged
    assert folder.checkpoint(1).read_bytes() == whole.checkpoint(1).read_bytes()
    assert without_times(folder.read_results()) == without_times(whole.read_results())
    assert folder.read_results()["strategy"] == strategy
    assert not folder.state.exists()
