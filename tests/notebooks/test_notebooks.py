"""The notebooks run on a run folder and are kept without outputs."""

import ast
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from nbformat import NotebookNode

from continual_repmode.models import RepModeUNet, save_model
from continual_repmode.results import ExperienceRecord, RunFolder

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    return notebook


def execute(
    path: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> NotebookNode:
    monkeypatch.setenv("RUN_FOLDER", str(run.path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = read(path)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=300, resources=resources).execute()
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
    return "".join(output["text"] for output in cell["outputs"])


def test_there_are_notebooks() -> None:
    assert "gating_weights.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_valid_thin_and_without_outputs(path: Path) -> None:
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


def test_gating_weights_shows_its_figures_of_an_incremental_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (path for path in NOTEBOOKS if path.name == "gating_weights.ipynb")
    run = make_run(tmp_path, "cell_membrane")

    notebook = execute(path, run, monkeypatch)

    figures = outputs_of(notebook, "image/png")
    assert list(figures) == ["per-layer", "all-layers", "scale", "parts", "new"]
    tables = outputs_of(notebook, "text/html")
    assert list(tables) == ["table", "scale-correlation", "parts-table", "own-expert"]
    assert str(run.path) in printed(notebook, "load")
    assert "cell_membrane is nearest to" in printed(notebook, "nearest")
    assert "cell_membrane" in tables["own-expert"]


def test_gating_weights_of_a_run_without_later_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (path for path in NOTEBOOKS if path.name == "gating_weights.ipynb")

    notebook = execute(path, make_run(tmp_path), monkeypatch)

    assert "new" in outputs_of(notebook, "image/png")
    assert printed(notebook, "nearest") == ""
