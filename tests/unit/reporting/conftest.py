"""Small finished runs to report on, and a reader of the report."""

from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from continual_repmode.analysis.continual import publish
from continual_repmode.models import ModelCard, RepModeUNet, TaskCard, save_model
from continual_repmode.results import ExperienceRecord, RunFolder, write_json

STREAM = (("dna", "my_structure"), ("mitochondria",))
VOXEL_SIZE_UM = (0.6, 0.3, 0.3)
HEADER = {
    "schema": "continual_repmode.results",
    "schema_version": 1,
    "command": "continual-repmode run scenario=here.yaml",
    "scenario": "here",
    "seed": 7,
    "device": "cpu",
    "voxel_size_um": list(VOXEL_SIZE_UM),
    "versions": {"torch": "2.15.0"},
}
CONFIG = """\
scenario:
  name: here
  description: two and one
  experiences: [[dna, my_structure], [mitochondria]]
  new_task: null
data: {option: synthetic, shape: [8, 24, 20], num_train: 3, num_valid: 1, seed: 5}
model: {option: repmode, width: 2, depth: 1}
train: {epochs: 3, extension_epochs: 2, batch_size: 4, learning_rate: 0.005}
"""

FIGURES = (
    "learning_curves",
    "forgetting",
    "gating",
    "gating_overview",
    "scale_preference",
    "extent_profile",
    "gate_distances",
)


@pytest.fixture(scope="session")
def nets():
    """The network after each experience."""
    torch.manual_seed(0)
    base = RepModeUNet(STREAM[0], width=2, depth=1)
    extended = RepModeUNet(STREAM[0], width=2, depth=1)
    extended.add_task("mitochondria")
    return [base, extended]


@pytest.fixture(scope="session")
def make_run(nets):
    """Write a run folder.

    ``make_run(path, strategy=, lost=, header=, done=2, draw=False)``

    ``lost`` is what the tasks of the first experience lose in R2 in the second one;
    ``done`` is the number of complete experiences. Unless they shall be drawn, which
    takes a while, the folder has figures: a few red pixels each.
    """

    def make(
        path: Path,
        *,
        strategy: str = "repmode",
        lost: float = 0.0,
        header: Mapping[str, Any] | None = None,
        done: int = 2,
        draw: bool = False,
    ) -> RunFolder:
        folder = RunFolder(path)
        folder.figures.mkdir(parents=True)
        for name in () if draw else FIGURES:
            Image.new("RGB", (30, 20), "red").save(folder.figures / f"{name}.png")
        content = {**HEADER, "strategy": strategy, **(header or {})}
        write_json(folder.header, content)
        folder.config.write_text(CONFIG)
        for experience in range(done):
            folder.write_record(_record(experience, lost))
            save_model(
                nets[experience],
                folder.checkpoint(experience),
                ModelCard(tasks={"dna": TaskCard(num_images={"train": 41})}),
            )
            publish(folder)
        tasks = [task for names in STREAM[:done] for task in names]
        for index, task in enumerate(tasks):
            write_sample(folder, task, seed=index)
        return folder

    return make


def write_sample(
    folder: RunFolder,
    task: str,
    *,
    seed: int = 0,
    shape: tuple[int, int, int] = (8, 24, 20),
    image: str = "",
) -> dict[str, Any]:
    folder.samples.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names = ("signal", "target", "prediction")
    volumes = {name: rng.normal(size=shape).astype(np.float16) for name in names}
    path = folder.samples / f"{task}.npz"
    np.savez_compressed(path, **volumes, image=image or f"{task}/0")
    return volumes


def _record(experience: int, lost: float) -> ExperienceRecord:
    tasks = [task for names in STREAM[: experience + 1] for task in names]
    rows = []
    for index, task in enumerate(tasks):
        for image in range(2):
            r2 = 0.5 + 0.0123 * index + 0.1 * image
            r2 -= lost * (experience == 1 and index < 2)
            metrics = {"mse": 1 - r2, "mae": 0.9 - r2, "r2": r2, "pearson_r": r2 + 0.05}
            metrics |= {"dice": r2} if task == "dna" else {}
            rows.append({"task": task, "image": f"{task}/{image}", **metrics})
    old = STREAM[0] if experience else ()
    hashes = {"state_sha256": "a" * 64, "output_sha256": "b" * 64}
    after = {**hashes, "output_sha256": "c" * 64} if lost else hashes
    return ExperienceRecord(
        experience=experience,
        tasks=list(STREAM[experience]),
        curve=[
            {"epoch": 1, "train_loss": 1.2, "valid_mse": 0.9876},
            {"epoch": 2, "train_loss": 0.8, "valid_mse": None},
        ],
        best_epoch=1,
        best_valid_mse=0.9876,
        num_trained_parameters=12345,
        train_iterations=10,
        proofs=[
            {"task": task, "before": hashes, "after": after, "unchanged": not lost}
            for task in old
        ],
        rows=[{**row, "num_voxels": 8} for row in rows],
        wall_time_s={"train": 70.0, "eval": 5.0},
    )


class Page(HTMLParser):
    """A parsed report: its elements, its text, and the tables' cells.

    Attributes
    ----------
    elements : list of tuple
        Tag and attributes.
    text : str
        All text outside style and script, blanks merged.
    rows : list of list of str
        The cells of every table row.
    """

    _VOID = frozenset({"meta", "img", "input", "br", "link"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self._pieces: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"
        self.text = " ".join("".join(self._pieces).split())

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self._VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"style", "script"}:
            return
        self._pieces.append(data + " ")
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data}".strip()

    def attributes(self, name: str) -> list[str]:
        return [a[name] or "" for _, a in self.elements if name in a]

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


@pytest.fixture(scope="session")
def parse():
    """Parse a report, failing where tags are not closed properly."""
    return lambda path: Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def new_sample():
    """Write a sample of random volumes and return them."""
    return write_sample


@pytest.fixture(scope="session")
def stream():
    """The tasks of the experiences of every run made here."""
    return STREAM
