"""What the README shows works as it is written."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from pydoc import locate

import numpy as np

import continual_repmode
from continual_repmode import open_volume
from continual_repmode.analysis.gating import GatingRow
from continual_repmode.config.data import DataConfig
from continual_repmode.config.run import TrainConfig
from continual_repmode.metrics.regression import METRICS
from continual_repmode.models import read_card
from continual_repmode.results import RunFolder
from continual_repmode.tasks import TASKS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def printed_by(*words, folder):
    """Run Python in a folder, where caches go too, and return what it prints."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_of_the_readme_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 2
    assert len(blocks[0].strip().splitlines()) <= 12
    told = printed_by("-W", "error", "-c", "\n".join(blocks), folder=tmp_path)
    scores = [float(line) for line in told.splitlines()]
    assert len(scores) == 3
    card = read_card(tmp_path / "model.safetensors")
    assert card.voxel_size_um == (0.29, 0.29, 0.29)  # which `predict` needs


def test_the_python_of_the_page_on_data_runs(tmp_path, write_czi):
    field = np.random.default_rng(0).integers(0, 4000, (2, 6, 20, 30), np.uint16)
    um = (0.29, 0.108, 0.108)
    names = ["EGFP", "Bright"]
    write_czi(tmp_path / "field.czi", field, channel_names=names, voxel_size_um=um)
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    told = printed_by("-W", "error", "-c", block, folder=tmp_path)
    expected = "CZYX (2, 6, 20, 30) ('EGFP', 'Bright') (0.29, 0.108, 0.108)"
    assert told.strip() == expected
    written = open_volume(tmp_path / "light.ome.tif")
    np.testing.assert_array_equal(written.read_channel(0), field[1])


def test_the_python_of_the_page_on_python_runs(tmp_path):
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    train, run, read = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    tiny = "data.num_train=1 data.num_valid=1 data.num_test=1 data.shape=[8,16,16] "
    tiny += "data.patch_size=[4,8,8] model.width=2 model.depth=1 train.epochs=1 "
    tiny += "train.extension_epochs=1 device=cpu hydra.run.dir=runs/mine"
    command = ["-m", "continual_repmode", "run", *tiny.split()]
    resumed = run.replace("run.learn", "assert len(done) == 3\nrun.learn")
    for words in (["-c", train + run], ["-c", train + resumed], command, ["-c", read]):
        printed_by(*words, folder=tmp_path)
    assembled = RunFolder(tmp_path / "runs" / "assembled").read_results()
    assert assembled["strategy"] == "repmode"
    assert assembled["old_tasks_unchanged"] is True
    assert (tmp_path / "matrix.png").is_file()
    assert (tmp_path / "gates.png").is_file()


def pages():
    """Return the text of every page for people, by its name."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def test_every_name_that_a_page_imports_or_mentions_is_there():
    imported = re.compile(
        r"^from (continual_repmode[\w.]*) import (?:\(([^)]*)\)|([^\n(]*))",
        re.MULTILINE,
    )
    mentioned = re.compile(r"`continual_repmode\.([\w.]+)`")
    found = set()
    for page, text in pages().items():
        for module, several, one in imported.findall(text):
            for name in (several or one).replace(",", " ").split():
                found.add((page, f"{module}.{name}"))
        for name in mentioned.findall(text):
            found.add((page, f"continual_repmode.{name}"))
    assert len(found) > 30
    for page, name in found:
        assert locate(name) is not None, f"{page}: {name}"


def test_the_page_on_python_tells_every_name_and_column():
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    columns = ["experience", "task", "image", *METRICS, "num_voxels"]
    columns += [field.name for field in fields(GatingRow)]
    for name in (*continual_repmode.__all__, *columns):
        assert f"`{name}`" in text, name


def test_extras_are_installed_from_the_folder_of_the_project():
    """The package is on no index."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    sources = (ROOT / "continual_repmode").rglob("*.py")
    wrong = re.compile(r"pip install ['\"]?continual[-_]repmode")
    assert [
        str(path)
        for path in (*pages, *sources)
        if wrong.search(path.read_text(encoding="utf-8"))
    ] == []


def test_the_page_on_tables_tells_the_names_of_the_tasks():
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    assert [task for task in TASKS if f"`{task}`" not in page] == []


def test_the_page_on_training_tells_every_setting():
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    names = [f"data.{field.name}" for field in fields(DataConfig)]
    names += [f"train.{field.name}" for field in fields(TrainConfig)]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_file_the_readme_names_is_there():
    linked = re.findall(r"\]\(([\w/.]+)\)", README)
    assert linked
    assert [name for name in linked if not (ROOT / name).is_file()] == []
