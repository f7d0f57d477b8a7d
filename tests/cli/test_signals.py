"""Signals at random moments: status 75, a line to go on with, and the same result."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from scipy.ndimage import gaussian_filter

from continual_repmode.models import RepModeUNet, save_model
from continual_repmode.models.model_card import ModelCard
from continual_repmode.volumes.formats.writing import save_volume

NUM_SIGNALS = int(os.environ.get("NUM_SIGNALS", "20"))
SIGNALS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]
UM = (0.3, 0.15, 0.15)
NUM_FILES = 6
TINY = [
    "data.num_train=2",
    "data.num_valid=1",
    "data.num_test=1",
    "data.shape=[8,16,16]",
    "data.patch_size=[8,16,16]",
    "model.width=2",
    "model.depth=1",
    "train.epochs=2",
    "train.extension_epochs=2",
    "device=cpu",
]


class Disturbed:
    """A command that is stopped again and again, and begun again."""

    def __init__(
        self, folder: Path, words: list[str], status: int = 0, *, together: int = 0
    ) -> None:
        self.folder = folder
        self.words = ["continual_repmode", *words]
        self.together = together
        if together:
            start = ["continual_repmode.torchrun", "--nproc-per-node", str(together)]
            self.words = [*start, "--standalone", "-m", *self.words]
        self.status = status
        self.rng = random.Random(f"20261129 {words[0]}")

    def start(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", *self.words],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        while process.poll() is None and not self.is_up(process):
            time.sleep(0.01)
        return process

    def is_up(self, process: "subprocess.Popen[str]") -> bool:
        """Tell whether all processes have come so far as to catch SIGUSR1."""
        with suppress(psutil.Error, OSError):
            begun = psutil.Process(process.pid).children() if self.together else ()
            pids = [process.pid, *(child.pid for child in begun)]
            return len(begun) == self.together and all(map(heeds_signals, pids))
        return False

    def finish(self) -> float:
        """Let the command come to its end; return how long it took."""
        began = time.monotonic()
        process = self.start()
        _, err = process.communicate(timeout=600)
        assert process.returncode == self.status, err
        return time.monotonic() - began

    def disturb(self, longest_s: float, begin_anew: Callable[[], object]) -> None:
        """Stop it at many random moments, also all of its processes at once."""
        stopped = 0
        while stopped < NUM_SIGNALS:
            process = self.start()
            time.sleep(self.rng.uniform(0, longest_s))
            number = self.rng.choice(SIGNALS)
            send = self.rng.choice([os.kill, os.killpg])
            if process.poll() is None:
                send(process.pid, number)
            _, err = process.communicate(timeout=60)
            assert "Traceback" not in err, err
            if process.returncode == self.status:
                begin_anew()
                continue
            assert process.returncode == 75, (number, err)
            assert "interrupted; resume with: continual-repmode " in err
            stopped += 1


def heeds_signals(pid: int) -> bool:
    """Tell whether a process has come so far as to catch SIGUSR1."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (w.split()[1] for w in status.splitlines() if w.startswith("SigCgt"))
    return bool(int(mask, 16) >> (signal.SIGUSR1 - 1) & 1)


def files(folder: Path, pattern: str) -> dict[str, bytes]:
    paths = [path for each in pattern.split() for path in folder.rglob(each)]
    found = sorted(path for path in paths if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def check(disturbed: Disturbed, made: Path, pattern: str) -> None:
    """Compare what the command makes when it is disturbed and when it is not."""
    longest_s = disturbed.finish()
    expected = files(made, pattern)
    assert expected

    def begin_anew() -> None:
        assert files(made, pattern) == expected
        shutil.rmtree(made)

    begin_anew()
    disturbed.disturb(longest_s, begin_anew)
    disturbed.finish()
    assert files(made, pattern) == expected
    for left in (".predicting", "*.tmp", ".*.json", ".*.csv"):
        assert not list(made.rglob(left)), left


@pytest.mark.slow
@pytest.mark.parametrize("together", [0, 2])
def test_a_run(tmp_path, cells_cache, together):
    words = ["run", "scenario=base_tasks", "hydra.run.dir=run", *TINY]
    words += [f"data.cache_dir={cells_cache}"]
    disturbed = Disturbed(tmp_path, words, together=together)
    check(disturbed, tmp_path / "run", "*.safetensors image_metrics.csv")


@pytest.fixture
def images(tmp_path):
    torch.manual_seed(0)
    net = RepModeUNet(("dna",), width=4, depth=1).eval()
    card = ModelCard(voxel_size_um=(0.3,) * 3, window=(8, 16, 16))
    save_model(net, tmp_path / "model.safetensors", card)
    lines = ["task,path,channel_signal,channel_target,split"]
    for index in range(NUM_FILES):
        rng = np.random.default_rng(index)
        smooth = gaussian_filter(rng.normal(size=(2, 12, 128, 128)), (0, 0, 1, 1))
        save_volume(
            tmp_path / f"f{index}.ome.tif",
            (2000 + 1000 * smooth).astype(np.uint16),
            axes="CZYX",
            voxel_size_um=UM,
            channel_names=["Bright", "DAPI"],
        )
        lines.append(f"dna,f{index}.ome.tif,0,1,train")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_predictions(images, count):
    words = ["predict", "model.safetensors", "manifest.csv", "--out", "out"]
    disturbed = Disturbed(images, [*words, "--workers", str(count)])
    check(disturbed, images / "out", "[c0]*")  # chunks


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_preparation(images, count):
    words = ["prepare", "manifest.csv", "--cache-dir", "cache"]
    disturbed = Disturbed(images, [*words, "--workers", str(count)])
    check(disturbed, images / "cache", "*.npy")


@pytest.mark.slow
def test_a_table(tmp_path, cells_cache):
    """Costs are measured, so they differ; all else is the same."""
    own = ["rows=multinet,repmode", "workers=2", f"data.cache_dir={cells_cache}"]
    disturbed = Disturbed(tmp_path, ["tables", "table3", *own, *TINY], status=3)

    def results() -> list[dict]:
        paths = sorted((tmp_path / "results" / "runs").glob("*.json"))
        return [
            {k: v for k, v in json.loads(path.read_text()).items() if k != "costs"}
            for path in paths
        ]

    longest_s = disturbed.finish()
    expected = results()
    assert len(expected) == 4

    def begin_anew() -> None:
        assert results() == expected
        shutil.rmtree(tmp_path / "results")
        shutil.rmtree(tmp_path / "runs")

    begin_anew()
    disturbed.disturb(longest_s, begin_anew)
    disturbed.finish()
    assert results() == expected
