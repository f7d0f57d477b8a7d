"""Runs the command as a user does: in a process of its own, from any folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
def spawn_tiny(tiny_settings) -> Callable[..., "subprocess.Popen[str]"]:
    """Start a run of seconds in a folder."""

    def spawn(folder: Path, *settings: str) -> "subprocess.Popen[str]":
        return start("run", *tiny_settings(folder, *settings), cwd=folder)

    return spawn


@pytest.fixture(scope="session")
def run_tiny(spawn_tiny) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Carry out a run of seconds in a folder."""

    def run(folder: Path, *settings: str) -> "subprocess.CompletedProcess[str]":
        return finish(spawn_tiny(folder, *settings))

    return run


@pytest.fixture(scope="session")
def spawn() -> Callable[..., "subprocess.Popen[str]"]:
    """Start ``continual-repmode`` with these words."""
    return start


@pytest.fixture(scope="session")
def command() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Call ``continual-repmode`` with these words."""

    def call(*words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
        return finish(start(*words, cwd=cwd))

    return call


@pytest.fixture(scope="session")
def spawn_two() -> Callable[..., "subprocess.Popen[str]"]:
    """Start a module of the package in two processes that train together."""
    begin = ["continual_repmode.torchrun", "--standalone", "--nproc-per-node", "2"]

    def spawn(*words: str, cwd: Path) -> "subprocess.Popen[str]":
        return start_module(*begin, "-m", *words, cwd=cwd)

    return spawn


def start(*words: str, cwd: Path) -> "subprocess.Popen[str]":
    return start_module("continual_repmode", *words, cwd=cwd)


def start_module(*words: str, cwd: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_ctrl_c,
    )


def _hear_ctrl_c() -> None:
    """Shells let what they start in the background, such as these tests, ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process: "subprocess.Popen[str]") -> "subprocess.CompletedProcess[str]":
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
