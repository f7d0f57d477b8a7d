"""``continual-repmode report``: a tiny run as one file to look at."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, run_tiny: Run) -> Path:
    """A folder with a finished run in ``run``."""
    work = tmp_path_factory.mktemp("work")
    done = run_tiny(work, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    return work


def test_a_real_run_becomes_one_file(work: Path, command: Run) -> None:
    done = command("report", "run", "--out", "one.html", cwd=work)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("report: one.html (")
    text = (work / "one.html").read_text(encoding="utf-8")
    assert "Left out" not in text
    assert "nuclear envelope" in text
    assert text.count('data-volume="prediction"') == 3
    assert "gate_distances" not in text  # names of files are none of the reader's
    assert len(text) < 3e6


def test_without_out_it_is_report_html_and_never_replaced_silently(
    work: Path, command: Run
) -> None:
    assert command("report", "run", cwd=work).returncode == 0
    before = (work / "report.html").read_bytes()

    again = command("report", "run", cwd=work)
    assert again.returncode == 2
    assert again.stderr.startswith("error: report.html: exists already")
    assert again.stderr.count("\n") == 1
    assert (work / "report.html").read_bytes() == before

    assert command("report", "run", "--overwrite", cwd=work).returncode == 0


def test_a_folder_without_a_run_is_one_line(work: Path, command: Run) -> None:
    done = command("report", "run/figures", "--out", "none.html", cwd=work)

    assert done.returncode == 2
    assert done.stderr.startswith("error: run/figures: no run folder")
    assert done.stderr.count("\n") == 1
    assert not (work / "none.html").exists()


def test_help_loads_nothing_heavy(command: Run, tmp_path: Path) -> None:
    started = time.perf_counter()
    done = command("report", "--help", cwd=tmp_path)
    assert time.perf_counter() - started < 3
    assert "RUN_FOLDER" in done.stdout
    code = (
        "import sys; from continual_repmode.commands.report import main; "
        "main(['--help']); "
        "print(sorted({'torch', 'numpy', 'jinja2', 'matplotlib'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.endswith("[]\n")
