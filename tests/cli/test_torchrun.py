"""Several processes train one network: a run as by one, and none is left hanging."""

import json
import signal
import time

import psutil
import pytest


@pytest.fixture
def train_together(spawn_two, tiny_settings, tmp_path):
    """Start a run of seconds by two processes, with the settings of ``run_tiny``."""

    def start(*more):
        words = tiny_settings(tmp_path, *more)
        return spawn_two("continual_repmode.run", *words, cwd=tmp_path)

    return start


def experience(folder, number):
    return json.loads((folder / f"experiences/experience_{number}.json").read_text())


def assert_alike(folder, reference):
    """Compare what was learned and measured, up to the rounding of sums.

    A step of Adam has the size of the learning rate however small the gradient is, so
    rounding shows in weights that hardly matter; metrics agree to 1e-3 all the same.
    """
    for number in (0, 1):
        one, other = experience(reference, number), experience(folder, number)
        assert [r["image"] for r in other["rows"]] == [r["image"] for r in one["rows"]]
        mse, expected = ([row["mse"] for row in e["rows"]] for e in (other, one))
        assert mse == pytest.approx(expected, abs=1e-3)
        losses, expected = ([p["train_loss"] for p in e["curve"]] for e in (other, one))
        assert losses == pytest.approx(expected, abs=2e-3)
        assert [p["unchanged"] for p in other["proofs"]] == [
            p["unchanged"] for p in one["proofs"]
        ]


SPOTLIGHT = "train.loss=spotlight train.epochs=2 train.extension_epochs=1"
"""Its soft threshold is steep: rounding grows faster than with other losses."""


@pytest.mark.parametrize(
    "settings",
    [
        "strategy=repmode",
        pytest.param("strategy=lwf", marks=pytest.mark.slow),
        pytest.param(f"strategy=repmode {SPOTLIGHT}", marks=pytest.mark.slow),
    ],
)
def test_two_processes_do_what_one_does(train_together, run_tiny, tmp_path, settings):
    more = [*settings.split(), "train.batch_size=3"]
    alone = run_tiny(tmp_path, *more, "hydra.run.dir=alone")
    assert alone.returncode == 0, alone.stderr
    together = train_together(*more, "hydra.run.dir=together")
    out, err = together.communicate(timeout=300)
    assert together.returncode == 0, err
    assert_alike(tmp_path / "together", tmp_path / "alone")
    results = json.loads((tmp_path / "together/results.json").read_text())
    assert results["num_processes"] == 2
    assert err.count("run folder:") == out.count("results, figures and models:") == 1
    assert "Warning" not in err
    assert not list((tmp_path / "together").glob("state/*"))


def test_a_lost_process_ends_all_and_one_process_goes_on(
    train_together, run_tiny, command, tmp_path
):
    more = ["strategy=repmode", "train.batch_size=3"]
    together = train_together(*more, "hydra.run.dir=together")
    record = tmp_path / "together/experiences/experience_0.json"
    until = time.monotonic() + 300
    while not record.exists() and time.monotonic() < until:
        assert together.poll() is None, together.communicate()
        time.sleep(0.05)
    workers = psutil.Process(together.pid).children()
    (second,) = (w for w in workers if w.environ().get("RANK") == "1")
    second.send_signal(signal.SIGKILL)
    together.communicate(timeout=60)
    assert together.returncode != 0
    assert not any(worker.is_running() for worker in workers)

    resumed = command("run", "resume=together", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    alone = run_tiny(tmp_path, *more, "hydra.run.dir=alone")
    assert alone.returncode == 0, alone.stderr
    assert_alike(tmp_path / "together", tmp_path / "alone")


REFUSED = {
    "train.compile=true": "train.compile=true: several processes must take the",
    "train.epochs=0": "train.epochs=0: must be at least 1",
}
_FIRST, *_OTHERS = REFUSED


@pytest.mark.parametrize(
    "setting", [_FIRST, *(pytest.param(o, marks=pytest.mark.slow) for o in _OTHERS)]
)
def test_what_cannot_be_shared_is_refused_once(train_together, tmp_path, setting):
    refused = train_together(setting, "hydra.run.dir=refused")
    _, err = refused.communicate(timeout=120)
    assert refused.returncode == 2
    assert err.count(REFUSED[setting]) == 1, err
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    "told", ["second process", pytest.param("all", marks=pytest.mark.slow)]
)
def test_processes_stop_at_the_same_step_and_go_on(train_together, tmp_path, told):
    """One of them is told to stop, or that which started both."""
    more = ["strategy=repmode", "train.batch_size=3", "train.epochs=8"]
    undisturbed = train_together(*more, "hydra.run.dir=undisturbed")
    _, err = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0, err
    run = train_together(*more, "hydra.run.dir=stopped")
    while not (tmp_path / "stopped/state/training.pt").exists():
        assert run.poll() is None, run.communicate()
        time.sleep(0.01)
    process = psutil.Process(run.pid)
    if told == "second process":
        (process,) = (w for w in process.children() if w.environ().get("RANK") == "1")
    process.send_signal(signal.SIGUSR1)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 75, err
    assert err.count("interrupted; resume with: continual-repmode run resume=") == 1
    assert "Traceback" not in err
    run = train_together(*more, "hydra.run.dir=stopped")
    _, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    for number in (0, 1):
        one = experience(tmp_path / "undisturbed", number)
        other = experience(tmp_path / "stopped", number)
        for name in ("checkpoint_sha256", "rows", "curve"):
            assert other[name] == one[name], name
