"""Runs the command as a user does: in a process of its own, in any folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from continual_repmode.__main__ import main
from tests.cli.odd_lab import Call as InLab
from tests.cli.odd_lab import Said, make_lab
from tests.forked import Call, ForkServer

Done = subprocess.CompletedProcess
LOADED = [
    f"continual_repmode.{module}"
    for module in (
        "assembly", "build", "compose", "exporting.export", "extending", "prediction",
        "reporting", "experiments.tables", "manifests.check", "volumes.formats.tiff",
        "volumes.formats.ome_zarr", "analysis.plots",
    )
]  # fmt: skip
SCENARIO = "experiences: [[dna, nuclear_envelope], [nucleolus]]\n"
SETTINGS = [
    "scenario=tiny.yaml",
    "data.num_train=4",
    "data.num_valid=1",
    "data.num_test=1",
    "data.shape=[16,32,32]",
    "data.patch_size=[8,16,16]",
    "data.window=[16,32,32]",
    "model.width=4",
    "train.epochs=4",
    "train.extension_epochs=3",
    "train.batch_size=4",
    "train.validate_every=2",
    "device=cpu",
]


@pytest.fixture(scope="session")
def cells_cache(tmp_path_factory) -> Path:
    """Generated cells are the same everywhere: make them once for all tests."""
    return tmp_path_factory.getbasetemp().parent / "cells"


@pytest.fixture(scope="session")
def tiny_settings(cells_cache) -> Callable[..., list[str]]:
    """Return the settings of a run of seconds in a folder; given ones win."""

    def prepare(folder: Path, *settings: str) -> list[str]:
        (folder / "tiny.yaml").write_text(SCENARIO)
        given = {word.partition("=")[0] for word in settings}
        usual = [*SETTINGS, f"data.cache_dir={cells_cache}"]
        kept = [word for word in usual if word.partition("=")[0] not in given]
        return [*kept, *settings]

    return prepare


@pytest.fixture(scope="session")
def spawn() -> Iterator[Callable[..., Call]]:
    """Start ``continual-repmode`` with these words, in a fork of a loaded process."""
    server = ForkServer(LOADED)
    yield lambda *words, cwd: server.start(*words, folder=cwd)
    server.close()


@pytest.fixture(scope="session")
def command(spawn) -> Callable[..., Done]:
    """Call ``continual-repmode`` with these words, in such a fork."""

    def call(*words: str, cwd: Path) -> Done:
        process = spawn(*words, cwd=cwd)
        out, err = process.communicate()
        return Done(words, process.returncode, out, err)

    return call


@pytest.fixture(scope="session")
def fresh_command() -> Callable[..., Done]:
    """Call ``continual-repmode`` with these words, in a new process that loads it."""

    def call(*words: str, cwd: Path) -> Done:
        words = (sys.executable, "-m", "continual_repmode", *words)
        return subprocess.run(
            words, cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return call


@pytest.fixture(scope="session")
def spawn_two() -> Callable[..., "subprocess.Popen[str]"]:
    """Start a module of the package in two processes that train together."""
    begin = ["continual_repmode.torchrun", "--standalone", "--nproc-per-node", "2"]

    def start(*words: str, cwd: Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", *begin, "-m", *words],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_hear_ctrl_c,
        )

    return start


def _hear_ctrl_c() -> None:
    """Shells let what they start in the background, such as these tests, ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def spawn_tiny(tiny_settings, spawn) -> Callable[..., Call]:
    """Start a run of seconds in a folder."""
    return lambda folder, *settings: spawn(
        "run", *tiny_settings(folder, *settings), cwd=folder
    )


@pytest.fixture(scope="session")
def run_tiny(tiny_settings, command) -> Callable[..., Done]:
    """Carry out a run of seconds in a folder."""

    def run(folder: Path, *settings: str) -> Done:
        return command("run", *tiny_settings(folder, *settings), cwd=folder)

    return run


@pytest.fixture
def call(tmp_path: Path, capsys, caplog, monkeypatch) -> InLab:
    """Call the command in a folder with a model, images and manifests."""
    make_lab(tmp_path)
    monkeypatch.chdir(tmp_path)

    def called(words: str) -> Said:
        capsys.readouterr()
        caplog.clear()
        status = main(words.split())
        return Said(status, "\n".join([*capsys.readouterr(), *caplog.messages]))

    return called
