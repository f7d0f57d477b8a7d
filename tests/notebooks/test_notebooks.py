"""The notebooks run, short or as they are, and are kept without outputs."""

import ast
import re
import runpy
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from nbformat import NotebookNode

from continual_repmode import load_model, open_volume
from continual_repmode.demo import MODEL
from continual_repmode.models import RepModeUNet, fingerprint, save_model
from continual_repmode.results import ExperienceRecord, RunFolder

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    return notebook


def execute(name: str, parameters: str = "", last: str = "") -> NotebookNode:
    """Execute a notebook, with code after its parameters and at its end."""
    notebook = read(FOLDER / name)
    cells = notebook["cells"]
    tags = [cell["metadata"].get("tags", ()) for cell in cells]
    place = tags.index(["parameters"]) + 1
    cells.insert(place, nbformat.v4.new_code_cell(parameters))
    cells.append(nbformat.v4.new_code_cell(last, id="last"))
    resources = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=900, resources=resources).execute()
    return notebook


def make_run(path: Path, *later: str) -> RunFolder:
    """Write what a run with some later tasks leaves: checkpoints and records."""
    run = RunFolder(path)
    torch.manual_seed(0)
    net = RepModeUNet(["dna", "mitochondria", "nucleolus"], width=2, depth=1)
    for experience, tasks in enumerate([list(net.task_names), *([t] for t in later)]):
        if experience:
            net.add_task(tasks[0])
        net.freeze()
        save_model(net, run.checkpoint(experience))
        record = ExperienceRecord(
            experience=experience,
            tasks=tasks,
            curve=[],
            best_epoch=1,
            best_valid_mse=1.0,
            num_trained_parameters=1,
            train_iterations=1,
            proofs=[],
            rows=[],
            wall_time_s={},
        )
        run.write_record(record)
    return run


def outputs_of(notebook: NotebookNode, kind: str) -> dict[str, str]:
    """Return the outputs of one kind by the id of their cell."""
    return {
        cell["id"]: output["data"][kind]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
        if kind in output.get("data", {})
    }


def printed(notebook: NotebookNode, cell_id: str) -> str:
    (cell,) = (cell for cell in notebook["cells"] if cell["id"] == cell_id)
    return "".join(output.get("text", "") for output in cell["outputs"])


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == [
        "extend_your_own",
        "gating_weights",
        "quickstart",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_valid_thin_and_without_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)

    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["cells"][0]["cell_type"] == "markdown"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            source = cell["source"].replace("%matplotlib inline", "")
            kinds = (ast.FunctionDef, ast.ClassDef, ast.Lambda)
            assert not [
                node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)
            ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_page_of_a_notebook_shows_it_as_it_is_now(path):
    """``python docs/notebooks.py NAME`` writes it again."""
    pages = FOLDER.parent / "docs" / "notebooks"
    source_of = runpy.run_path(str(pages.with_suffix(".py")))["source_of"]
    text, at = (pages / f"{path.stem}.md").read_text(encoding="utf-8"), 0
    for cell in read(path)["cells"]:
        at = text.find(source_of(cell), at)
        assert at >= 0, cell["id"]
    for picture in re.findall(r"!\[output\]\((.*)\)", text):
        assert (pages / picture).stat().st_size < 400_000


def test_gating_weights_shows_its_figures_of_an_incremental_run(tmp_path, monkeypatch):
    run = make_run(tmp_path, "cell_membrane")
    monkeypatch.setenv("RUN_FOLDER", str(run.path))

    notebook = execute("gating_weights.ipynb")

    figures = outputs_of(notebook, "image/png")
    assert list(figures) == ["per-layer", "all-layers", "scale", "parts", "new"]
    tables = outputs_of(notebook, "text/html")
    assert list(tables) == ["table", "scale-correlation", "parts-table", "own-expert"]
    assert str(run.path) in printed(notebook, "load")
    assert "cell_membrane is nearest to" in printed(notebook, "nearest")
    assert "cell_membrane" in tables["own-expert"]


def test_gating_weights_of_a_run_without_later_tasks(tmp_path, monkeypatch):
    monkeypatch.setenv("RUN_FOLDER", str(make_run(tmp_path).path))

    notebook = execute("gating_weights.ipynb")

    assert "new" in outputs_of(notebook, "image/png")
    assert printed(notebook, "nearest") == ""


def test_gating_weights_takes_the_newest_run_that_has_results(tmp_path, monkeypatch):
    cells = read(FOLDER / "gating_weights.ipynb")["cells"]
    (choice,) = (cell["source"] for cell in cells if cell["id"] == "parameters")
    monkeypatch.delenv("RUN_FOLDER", raising=False)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    with pytest.raises(FileNotFoundError, match="run scenario=incremental"):
        exec(choice, {})

    runs = tmp_path / "runs" / "incremental"
    for name in ("2026-01-01", "2026-01-02", "2026-01-03 failed"):
        (runs / name).mkdir(parents=True)
        if "failed" not in name:
            (runs / name / "results.json").touch()
    names: dict[str, Path] = {}
    exec(choice, names)
    assert names["RUN_FOLDER"].name == "2026-01-02"


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Where the folders are that notebooks make for themselves."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def quickstart(work: Path, shorter: str = "", last: str = "") -> NotebookNode:
    notebook = execute("quickstart.ipynb", shorter, last)

    assert list(outputs_of(notebook, "image/png")) == ["cells", "look"]
    proof = outputs_of(notebook, "text/html")["proof"]
    assert "False" not in proof
    assert proof.count("True") == 6  # three comparisons of two structures
    (model,) = work.glob("quickstart_*/model.safetensors")
    assert load_model(model).task_names == ("dna", "cell_membrane", "nucleolus")
    return notebook


def test_quickstart_in_short(work):
    quickstart(work, "EPOCHS, NEW_EPOCHS = 1, 1")


@pytest.mark.slow
def test_quickstart_learns_something_of_every_structure(work):
    code = "print(*(results[f'r2/test_stream/{task}'] for task in cells.tasks))"
    scores = printed(quickstart(work, last=code), "last").split()
    assert all(float(r2) > 0.15 for r2 in scores)


def extend_your_own(work: Path, shorter: str = "", last: str = "") -> NotebookNode:
    notebook = execute("extend_your_own.ipynb", shorter, last)

    assert list(outputs_of(notebook, "image/png")) == ["curve", "sample", "look"]
    assert "error: " not in printed(notebook, "check")
    mistake = printed(notebook, "mistake")
    assert "no channel 'mCherry'; choose from 0 'Bright', 1 'EGFP'" in mistake
    learned = printed(notebook, "extend")
    assert "10 of 10 earlier structures unchanged (SHA-256)" in learned
    assert printed(notebook, "merge").count("to the bit") == 22
    (folder,) = work.glob("extend_your_own_*")
    base, both = load_model(MODEL), load_model(folder / "both.safetensors")
    assert both.task_names == (*base.task_names, "nucleolus", "cell_membrane")
    for task in base.task_names:
        assert fingerprint(both, task) == fingerprint(base, task)
    predicted = open_volume(folder / "predicted.ome.zarr")
    assert predicted.channel_names == both.task_names
    assert predicted.shape == (12, 20, 74, 74)
    assert predicted.voxel_size_um == pytest.approx((0.25, 0.25, 0.25))
    return notebook


def test_extend_your_own_in_short(work):
    extend_your_own(work, "EPOCHS = 2")


@pytest.mark.slow
def test_extend_your_own_learns_something_of_the_new_structure(work):
    code = "print(extension.record.rows[0]['r2'], extension.record.best_valid_mse, "
    code += "*(point.valid_mse for point in extension.points))"
    notebook = extend_your_own(work, last=code)
    r2, valid_mse, *curve = map(float, printed(notebook, "last").split())
    assert curve == sorted(curve, reverse=True)  # it falls with every image
    assert curve[0] > 1.2 * curve[-1]
    assert r2 > 0.1
    assert valid_mse < 0.9
