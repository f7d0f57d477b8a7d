"""``continual-repmode report``: a tiny run as one file to look at."""

import pytest

from continual_repmode.__main__ import main


@pytest.fixture(scope="module")
def work(tmp_path_factory, run_tiny):
    """A folder with a finished run in ``run``."""
    work = tmp_path_factory.mktemp("work")
    done = run_tiny(work, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    return work


def test_a_real_run_becomes_one_file(work, command):
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
    work, capsys, monkeypatch
):
    monkeypatch.chdir(work)
    assert main(["report", "run"]) == 0
    before = (work / "report.html").read_bytes()
    capsys.readouterr()

    assert main(["report", "run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: report.html: exists already")
    assert (work / "report.html").read_bytes() == before

    assert main(["report", "run", "--overwrite"]) == 0


def test_a_folder_without_a_run_is_one_line(work, capsys, monkeypatch):
    monkeypatch.chdir(work)
    assert main(["report", "run/figures", "--out", "none.html"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: run/figures: no run folder")
    assert not (work / "none.html").exists()
