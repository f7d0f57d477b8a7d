"""Every addition of the table in CONTRIBUTING, made in a copy of the project and used.

Each touches what its row names and nothing else.
"""

import ast
import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from continual_repmode.results import RunFolder
from continual_repmode.synthetic import simulate_field

ROOT = Path(__file__).parents[2]
TASKS = ("dna", "nucleolus")
EXAMPLES = (ROOT / "tests/data/their_package/theirs.py").read_text(encoding="utf-8")
PACKAGE = "continual_repmode"


def example(*names):
    """Return classes of the package that shows how others add to this one."""
    head = EXAMPLES.partition("BIAS = ")[0]
    tree = ast.parse(EXAMPLES)
    lines = EXAMPLES.splitlines()
    found = [node for node in tree.body if getattr(node, "name", None) in names]
    starts = [(node.decorator_list or [node])[0].lineno - 1 for node in found]
    bodies = [
        "\n".join(lines[start : node.end_lineno])
        for start, node in zip(starts, found, strict=True)
    ]
    return "\n\n".join([head, *bodies]) + "\n"


NETWORK = example("TheirNet", "TheirNetConfig")
STRATEGY = example("TheirsConfig", "SmallWeights")
READER = example("TheirVolume")
VERB = '''"""A verb that greets."""


def main(arguments):
    print("greeted", *arguments)
    return 0
'''
METRIC = """\
import numpy as np

from continual_repmode.metrics.regression import Metric

BIAS = Metric(
    "bias",
    "Bias",
    higher_is_better=False,
    measure=lambda prediction, target: abs(np.mean(prediction - target)),
)
"""
MEASURED = """\
    @property
    def all_positive(self) -> bool:
        return self.minimum > 0

"""
JUDGED = """\
    if facts.all_positive:
        yield channel.finding("note", "positive", "no voxel is 0", "do nothing")
"""
LOUD = '    loud: bool = option(False, "say the tasks")\n'
SOURCE = """
import numpy as np

from continual_repmode import RepMode, RepModeUNet, Scenario, build_benchmark
from continual_repmode.data.collection import LoadedPair
from continual_repmode.volumes.normalization import Intensity


class Noise:  # a Collection
    tasks = ("dna",)
    voxel_size_um = (0.29, 0.29, 0.29)

    def pairs(self, task, split):
        return [NoisePair(task, f"{task}-{split}")]


class NoisePair:
    def __init__(self, task, name):
        self.task, self.name = task, name

    def load(self):
        volume = np.random.default_rng(0).standard_normal((8, 16, 16), np.float32)
        return LoadedPair(volume, volume, Intensity(0.0, 1.0), Intensity(0.0, 1.0))


one = Scenario(name="one", experiences=[["dna"]])
benchmark = build_benchmark(one, data=Noise(), patch_size=(4, 8, 8))
net = RepModeUNet(benchmark.base_tasks, width=2, depth=1)
strategy = RepMode(model=net, window=(4, 8, 8))
strategy.train(benchmark.train_stream[0])
print("scored", strategy.eval(benchmark.test_stream)["mse/test_stream/dna"])
"""

TRACKER = '''
class MineTracker(Tracker):
    """Prints."""

    name = "mine"

    def write(self, points: Sequence[Point]) -> None:
        """Print how many values came."""
        print(f"{len(points)} values tracked")


'''

ADDITIONS = {
    "a stream": {"scenarios/mine.yaml": ("", "experiences: [[dna], [nucleolus]]\n")},
    "an option of `predict`": {
        f"{PACKAGE}/prediction/options.py": ("    progress: bool = False\n", LOUD),
        f"{PACKAGE}/commands/predict.py": (
            "    model = TrainedModel.load(chosen.model)\n",
            "    if options.loud:  # of PredictOptions\n"
            "        print('loud', options.tasks)\n",
        ),
    },
    "a verb of the command": {f"{PACKAGE}/commands/greet.py": ("", VERB),
        f"{PACKAGE}/commands/__init__.py": ('    "check": ',
        '    "greet": "say a word",\n')},
    "a network": {f"{PACKAGE}/models/methods/mine.py": ("", example("TheirNet",
        "TheirNetConfig")), f"{PACKAGE}/offers.py": ('    "multinet = ',
        f'    "mine = {PACKAGE}.models.methods.mine:TheirNetConfig",\n')},
    "a strategy": {f"{PACKAGE}/training/strategies/mine.py": ("", STRATEGY),
        f"{PACKAGE}/offers.py": ('    "naive = ',
        f'    "mine = {PACKAGE}.training.strategies.mine:TheirsConfig",\n')},
    "a preset of either": {"configs/strategy/mine_strong.yaml": ("",
        "defaults: [mine_schema, _self_]\nstrength: 0.5\n")},
    "a row of a table": {f"{PACKAGE}/experiments/further_tables.py":
        ('    "conv5": "5x5x5 expert"', '    "conv7": "7x7x7 expert",\n')},
    "a metric": {f"{PACKAGE}/metrics/mine.py": ("", METRIC), f"{PACKAGE}/offers.py":
        ('    "ssim = continual_repmode.metrics.',
        '    "bias = continual_repmode.metrics.mine:BIAS",\n')},
    "a file format": {f"{PACKAGE}/volumes/formats/mine.py": ("", READER),
        f"{PACKAGE}/volumes/formats/__init__.py": ('    ".npy": "npy.',
        '    ".mine": "mine.TheirVolume",\n')},
    "a data check": {
        f"{PACKAGE}/manifests/checks/facts.py": (
            "    @property\n    def usable(self) -> bool:\n"
            '        """Whether a z-score',
            MEASURED,
        ),
        f"{PACKAGE}/manifests/checks/findings.py": (
            "    if facts.num_nonfinite:\n",
            JUDGED,
        ),
    },
    "a tracker of runs": {
        f"{PACKAGE}/training/trackers.py": ("TRACKERS: dict", TRACKER),
        f"{PACKAGE}/results.py": ('"csv", "tensorboard", "mlflow"', '"mine", '),
    },
    "a page of the manual": {
        "docs/mine.md": ("", "# Mine\n\nA page.\n"),
        "mkdocs.yml": ("  - Concepts: ", "  - Mine: mine.md\n"),
    },
    "a data source": {"noise.py": ("", SOURCE)},
}  # fmt: skip
"""Row of the table -> each file touched: the text before which it is added, and it."""


def table():
    """Return the rows of the table: what is added -> what is touched."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = text.partition("| To add | You touch |")[2].partition("\n\n")[0]
    cells = [line.strip("| ").split(" | ") for line in rows.splitlines()[2:]]
    return dict(cells)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Copy the project, with every addition and volumes in the new format."""
    folder = tmp_path_factory.mktemp("copy")
    for name in (PACKAGE, "configs", "scenarios", "docs", "results"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for pattern in ("*.md", "*.yml", "*.cff"):
        for file in ROOT.glob(pattern):
            shutil.copy(file, folder)
    for files in ADDITIONS.values():
        for name, (before, added) in files.items():
            path = folder / name
            text = path.read_text(encoding="utf-8") if before else ""
            assert not before or text.count(before) == 1, (name, before)
            path.write_text(text.replace(before, added + before, 1), encoding="utf-8")
    rows = []
    for seed, task in enumerate(TASKS):
        volumes = simulate_field(seed, (12, 32, 96), task)
        with (folder / f"{task}.mine").open("wb") as file:
            np.save(file, np.stack(volumes).astype(np.float32))
        for split, x0, x1 in (("train", 0, 48), ("valid", 48, 72), ("test", 72, 96)):
            row = {"task": task, "path": f"{task}.mine", "split": split}
            row |= {"channel_signal": "Bright", "channel_target": "EGFP"}
            rows.append(row | {"x0": x0, "x1": x1})
    with (folder / "mine.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def called(copy, fresh_command, monkeypatch):
    """Call the command, or Python, of the copy; return all that is printed."""
    monkeypatch.setenv("PYTHONPATH", str(copy))
    monkeypatch.setenv("XDG_CACHE_HOME", str(copy / "cache"))

    def called(*words):
        if words[0] == "python":
            done = subprocess.run(
                [sys.executable, *words[1:]], cwd=copy, capture_output=True, text=True
            )
        else:
            done = fresh_command(*words, cwd=copy)
        assert done.returncode in (0, 3), done.stderr  # 3: check has warnings
        return done.stdout + done.stderr

    return called


def test_the_table_and_the_additions_have_the_same_rows_and_files():
    rows = table()
    assert rows.keys() == ADDITIONS.keys()
    for what, files in ADDITIONS.items():
        spans = re.findall(r"`([^`]+)`", rows[what])
        assert spans, what
        for name, (before, added) in files.items():
            known = [s for s in spans if s in f"{name}\n{before}\n{added}"]
            source = ROOT / name
            text = source.read_text(encoding="utf-8") if source.is_file() else ""
            assert known or any(span in text for span in spans), (what, name)


def test_a_run_uses_what_was_added(copy, called):
    settings = ("data=manifest", "data.manifest=mine.csv", "data.patch_size=[8,16,16]")
    said = called(
        *("run", "scenario=mine", "model=mine", "strategy=mine_strong", *settings),
        *("model.width=2", "train.epochs=1", "train.extension_epochs=1"),
        *("device=cpu", "hydra.run.dir=run", "metrics=[bias]", "loggers=[mine]"),
    )
    assert "values tracked" in said
    folder = RunFolder(copy / "run")
    results = folder.read_results()
    assert [record.tasks for record in folder.records()] == [["dna"], ["nucleolus"]]
    assert results["strategy"] == "mine"
    assert results["metrics"]["bias"]["result_matrix"][-1][0] >= 0
    config = folder.config.read_text()
    assert "option: mine\n" in config
    assert "strength: 0.5\n" in config
    model = str(folder.checkpoint(1))
    words = ("dna.mine", "--tasks", "dna", "--out", "out", "--device", "cpu")
    assert "loud dna" in called("predict", model, *words, "--loud")
    assert (copy / "out" / "dna.ome.zarr").is_dir()


def test_other_commands_and_python_use_what_was_added(called):
    assert "no voxel is 0" in called(
        "check", "mine.csv", "--patch-size", "8", "16", "16"
    )
    assert called("greet", "you") == "greeted you\n"
    assert "greet" in called("--help")
    code = (
        "from continual_repmode.experiments.planned import plan\n"
        "from continual_repmode.experiments.tables import TABLES\n"
        "row, = (r for r in TABLES['extensions'].rows if r.name == 'conv7')\n"
        "run, = plan([row], (), [0])[row.name]\n"
        "print('planned', run.settings['strategy.expert'])"
    )
    assert "planned conv7" in called("python", "-c", code)
    assert "scored " in called("python", "noise.py")


def test_the_manual_has_the_page_that_was_added(called, copy):
    called("python", "-m", "mkdocs", "build", "--strict", "--quiet")
    assert (copy / "build" / "site" / "mine" / "index.html").is_file()
