"""A lab's folder, and verbs called in it in processes that faults happen to."""

import json
import os
import re
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from continual_repmode.__main__ import main
from continual_repmode.experiments import costs
from continual_repmode.models import ModelCard, RepModeUNet, load_model, save_model
from continual_repmode.results import RunFolder
from continual_repmode.training.plugins.training_state import TrainingStatePlugin
from continual_repmode.volumes.formats.writing import save_volume
from tests.web_server import Web, serving

if not hasattr(os, "fork"):
    collect_ignore_glob = ["test_*.py"]

MIRROR = Web("")
UM = (0.29, 0.29, 0.29)
QUICK = ("--epochs", "2", "--device", "cpu", "--workers", "1", "--image-curve")
RUN = (
    "run",
    "scenario=tiny.yaml",
    "data.num_train=2",
    "data.num_valid=1",
    "data.num_test=1",
    "data.shape=[8,16,16]",
    "data.patch_size=[8,16,16]",
    "data.window=[8,16,16]",
    "data.cache_dir=cells",
    "model.width=2",
    "model.depth=1",
    "train.epochs=2",
    "train.extension_epochs=2",
    "train.batch_size=2",
    "train.validate_every=1",
    "device=cpu",
)
VERBS = {
    "run": (*RUN, "hydra.run.dir=new"),
    "extend": ("extend", "model.safetensors", "lab.csv", "--task", "lysosome",
               *QUICK, "none", "--out", "new"),
    "merge": ("merge", "a.safetensors", "b.safetensors", "--out", "new.safetensors"),
    "export": ("export", "model.safetensors", "--task", "dna", "--format", "torch",
               "--out", "new.pt2"),
    "report": ("report", "run", "--out", "new.html"),
    "predict": ("predict", "model.safetensors", "in", "--out", "new",
                "--device", "cpu"),
    "prepare": ("prepare", "lab.csv", "--cache-dir", "new", "--workers", "1"),
    "tables": ("tables", "economy", "rows=individual", *RUN[2:], "results=new"),
    "download": ("download", "zo1", "--no-manifest", "--mirror", "MIRROR",
                 "--to", "new"),
}  # fmt: skip
"""All write something called new. MIRROR stands for a server that tests start."""
ARCHIVE = {f"zo1/{number}.czi": bytes([number]) * 5_000 for number in range(3)}


@dataclass
class Ending:
    """How a process ended: its status (of a signal: below 0) and what it said."""

    status: int
    said: str

    @property
    def is_clean(self) -> bool:
        """Whether it worked, or told in one line why not."""
        told = re.search(
            r"^(error|failed): |: failed: |in use by another", self.said, re.M
        )
        return "Traceback" not in self.said and (
            self.status == 0 or (self.status in {2, 3} and told is not None)
        )


def attempt(words: tuple[str, ...], folder: Path, fault: Callable[[], None]) -> Ending:
    """Call the command in a process of its own, after a fault was prepared in it."""
    return finish(begin(words, folder, fault))


def begin(
    words: tuple[str, ...], folder: Path, fault: Callable[[], None] = lambda: None
) -> tuple[int, int]:
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:
        status = 70
        try:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
            os.chdir(folder)
            costs.measure_costs = lambda *_: costs.Costs(  # which takes long
                step_s=1, step_bytes=None, volume_s=1
            )
            fault()
            status = main([word.replace("MIRROR", MIRROR.url) for word in words])
            if (words[0], status) == ("tables", 3) and len(
                list(Path("new/runs").glob("*.json"))
            ) == 2:
                status = 0  # the rows that were asked for are there
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status)
    os.close(writing)
    return child, reading


def finish(process: tuple[int, int]) -> Ending:
    child, reading = process
    with open(reading, errors="replace") as pipe:  # noqa: PTH123
        said = pipe.read()
    _, ended = os.waitpid(child, 0)
    return Ending(os.waitstatus_to_exitcode(ended), said)


def killed_at(number: int) -> Callable[[], None]:
    """Kill the process when it waits for the disk for the nth time."""

    def fault() -> None:
        real, left = os.fsync, [number]

        def fsync(file: int) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            real(file)

        os.fsync = fsync

    return fault


def killed_while_learning() -> None:
    """Kill the process when it has saved an epoch of the second experience."""
    real = TrainingStatePlugin.after_training_epoch

    def after(self, strategy, **others):
        real(self, strategy, **others)
        if strategy.experience.current_experience == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    TrainingStatePlugin.after_training_epoch = after


def leftovers(folder: Path) -> list[Path]:
    """Files that no verb should leave."""
    return [
        path
        for path in folder.rglob("*")
        if path.name.startswith((".writing-", ".replaced-", ".predicting"))
        or path.name.endswith((".partial", ".part", ".part.json", ".unpacking"))
    ]


@dataclass
class Tally:
    """What became of the faults of a test."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, ending: Ending, equal: bool | None = None) -> None:
        """Count an attempt."""
        self.counts["tried"] += 1
        self.counts["resumed" if ending.status == 0 else "refused in one line"] += 1
        if equal:
            self.counts["equal"] += 1


_TALLIES: dict[str, Tally] = {}


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Count, and print at the end of the session."""
    return _TALLIES.setdefault(request.node.name.partition("[")[0], Tally())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, tally in _TALLIES.items():
        told = ", ".join(f"{what} {n}" for what, n in sorted(tally.counts.items()))
        terminalreporter.write_line(f"{name}: {told}")


@pytest.fixture(scope="session")
def mirror(pack):
    """A server of one archive."""
    with serving() as web:
        web.files["/zo1.tar.gz"] = pack(ARCHIVE)
        MIRROR.url = web.url
        yield web


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, mirror) -> Path:
    """A folder with all that the verbs read, a finished run and one in the middle."""
    folder = tmp_path_factory.mktemp("template")
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    net = RepModeUNet(("dna", "nucleolus"), width=2, depth=1)
    net.freeze()
    card = ModelCard(voxel_size_um=UM, window=(8, 16, 16))
    save_model(net, folder / "model.safetensors", card)
    for name, task in (("a", "golgi"), ("b", "peroxisome")):
        extended = load_model(folder / "model.safetensors")
        extended.add_task(task)
        save_model(extended, folder / f"{name}.safetensors", card)
    lines = ["task,split,path,channel_signal,channel_target"]
    for index, split in enumerate(("train", "train", "valid", "test")):
        pair = rng.integers(90, 400, (2, 8, 20, 20)).astype(np.uint16)
        save_volume(
            folder / f"f{index}.ome.tif", pair, axes="CZYX", voxel_size_um=UM,
            channel_names=["light", "EGFP"],
        )  # fmt: skip
        lines.append(f"lysosome,{split},f{index}.ome.tif,light,EGFP")
    (folder / "lab.csv").write_text("\n".join(lines) + "\n")
    (folder / "in").mkdir()
    save_volume(folder / "in/x.ome.tif", pair[0], axes="ZYX", voxel_size_um=UM)
    scenario = "experiences: [[dna, cell_membrane], [nucleolus]]\n"
    (folder / "tiny.yaml").write_text(scenario)
    done = attempt((*RUN, "hydra.run.dir=run"), folder, lambda: None)
    assert done.status == 0, done.said
    ending = attempt((*RUN, "hydra.run.dir=half"), folder, killed_while_learning)
    assert ending.status == -signal.SIGKILL, ending.said
    assert (folder / "half/state/best_weights.pt").is_file()
    return folder


@pytest.fixture
def lab(template: Path, tmp_path: Path) -> Path:
    """A copy of the folder to do harm in."""
    return shutil.copytree(template, tmp_path / "lab")


@pytest.fixture(scope="session")
def expected(template: Path, tmp_path_factory: pytest.TempPathFactory):
    """Return what a verb makes where nothing happens to it."""
    made: dict[str, object] = {}

    def of(verb: str) -> object:
        if verb not in made:
            folder = shutil.copytree(template, tmp_path_factory.mktemp(verb) / "lab")
            done = attempt(VERBS[verb], folder, lambda: None)
            assert done.status == 0, done.said
            assert leftovers(folder) == []
            made[verb] = outcome(verb, folder)
        return made[verb]

    return of


def outcome(verb: str, folder: Path) -> object:
    """Return what of a verb's results is the same whenever it works."""
    match verb:
        case "run":
            return learned(folder / "new")
        case "extend":
            return (folder / "new/model.safetensors").read_bytes()
        case "merge":
            return (folder / "new.safetensors").read_bytes()
        case "export":
            program = torch.export.load(folder / "new.pt2")
            return [t.sum().item() for t in program.state_dict.values()]
        case "report":
            return (folder / "new.html").read_text().count("</section>")
        case "tables":
            records = (folder / "new/runs").glob("*.json")
            found = sorted((r.name, json.loads(r.read_text())) for r in records)
            changing = {"costs", "train_s", "finished"}
            return [{k: v for k, v in r.items() if k not in changing} for _, r in found]
        case "download":
            stored = (folder / "new/zo1").glob("*.czi")
            return {f"zo1/{path.name}": path.read_bytes() for path in stored}
        case "predict":
            stored = sorted((folder / "new").rglob("c/**/*"))
            return [path.read_bytes() for path in stored if path.is_file()]
        case _:
            stored = sorted((folder / "new").rglob("*.npy"))
            return [path.read_bytes() for path in stored]


def learned(path: Path) -> object:
    """Return what a run has learned and measured."""
    folder = RunFolder(path)
    models = [folder.checkpoint(index).read_bytes() for index in (0, 1)]
    return models, folder.read_results()["metrics"]


def wait_until(true: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()
