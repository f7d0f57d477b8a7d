"""Every section runs, at sizes that mean nothing; the command keeps the results."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import startup
from benchmarks.harness import Settings
from benchmarks.sections import SECTIONS
from benchmarks.startup import describe_imports

MEASURES_MEMORY = ("training", "extension", "prediction", "structures", "windows")
OTHERS = ("ahead", "prediction", "structures", "windows", "arithmetic", "resizing")


@pytest.fixture
def settings(tmp_path):
    return Settings(torch.device("cpu"), None, True, 0.0, tmp_path)


@pytest.fixture
def _no_fresh_processes(monkeypatch):
    for name in MEASURES_MEMORY:
        module = importlib.import_module(f"benchmarks.{name}")
        monkeypatch.setattr(module, "peak_memory", lambda *_: 1_000_000)


@pytest.mark.usefixtures("_no_fresh_processes")
@pytest.mark.parametrize(
    "name",
    [
        *OTHERS,
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("processes", "cluster")),
    ],
)
def test_section_measures_something(name, settings):
    rows = SECTIONS[name].measure(settings)
    assert rows
    for row in rows:
        assert row.value is not None or row.note
        assert row.value is None or row.value.median > 0
    assert any(row.comparisons or row.note for row in rows)


@pytest.mark.usefixtures("_no_fresh_processes")
def test_our_training_is_compared_with_every_peer(settings):
    rows = SECTIONS["training-8"].measure(settings)
    ours = [row for row in rows if row.what == "RepMode here"]
    batches = [row.case.split(", ")[-1] for row in ours]
    assert batches == ["eight tasks", "three tasks", "one task"]
    for row in ours:
        compared = {comparison.name for comparison in row.comparisons}
        for peer in ("plain 5x5x5 U-Net", "merged sample by sample"):
            assert {f"time over {peer}", f"memory over {peer}"} <= compared


@pytest.mark.slow
def test_the_network_for_overlaps_is_trained_once(settings):
    rows = SECTIONS["overlap"].measure(settings)
    checkpoints = settings.folder / "overlap-dna" / "checkpoints"
    written = checkpoints / "experience_0.safetensors"
    before = written.stat().st_mtime_ns
    again = SECTIONS["overlap"].measure(settings)
    assert written.stat().st_mtime_ns == before
    for row, repeated in zip(rows, again, strict=True):
        assert row.comparisons[1] == repeated.comparisons[1]  # change of test MSE
    (half,) = (row for row in rows if row.what == "overlap 0.5")
    assert half.comparisons[1].value.median == 0


@pytest.mark.usefixtures("_no_fresh_processes")
def test_an_extension_keeps_less_optimizer_state(settings):
    (new, full) = SECTIONS["extension"].measure(settings)
    (state,) = (c for c in new.comparisons if c.name.startswith("optimizer state"))
    assert state.value.median < 0.5
    assert full.what == "full fine-tuning"


def test_start_up_counts_from_bare_python(settings, monkeypatch):
    light = {
        what: arguments
        for what, arguments in startup.STARTS.items()
        if what in (startup.BARE, "import continual_repmode")
    }
    monkeypatch.setattr(startup, "STARTS", light)
    (bare, package) = SECTIONS["startup"].measure(settings)
    assert bare.comparisons == ()
    (above,) = package.comparisons
    assert above.name == "time above bare Python"
    assert "modules" in package.note


@pytest.mark.slow
def test_patches_are_drawn_and_loaders_measured(settings):
    rows = SECTIONS["loading"].measure(settings)
    assert [row.value is None for row in rows] == [False, False, True, True]
    assert all(row.memory_bytes for row in rows[2:])


def test_imports_are_summed_by_package():
    text = """noise
import time: self [us] | cumulative | imported package
import time:      1000 |       1000 | zipimport
import time:     20000 |      20000 |   torch.nn
import time:     70000 |      90000 | torch
import time:      6000 |       6000 | numpy
"""
    assert describe_imports(text) == "4 modules: torch 0.09 s, numpy 0.01 s"


def test_a_report_names_no_folder(tmp_path):
    words = ["prediction", "--rounds", "2", "--folder", str(tmp_path), "--continue"]
    chosen = command._parser().parse_args(words)
    told = command.describe_command(chosen)
    assert told == "python -m benchmarks prediction --rounds 2"


def test_the_command_writes_results_and_table_and_goes_on(tmp_path):
    line = [sys.executable, "-m", "benchmarks", "resizing", "--quick"]
    line += ["--output", str(tmp_path)]
    root = Path(command.__file__).parent.parent
    done = subprocess.run(line, cwd=root, capture_output=True, text=True, check=True)
    (result,) = (tmp_path / "benchmarks" / "results").iterdir()
    assert result.name == "resizing-cpu.json"
    stored = json.loads(result.read_text())
    assert stored["versions"]["torch"]
    assert stored["machine"]["cores"]
    assert "Resizing to the model grid" in (tmp_path / "BENCHMARKS.md").read_text()
    assert "| resize=fast |" in done.stdout
    before = result.read_bytes()
    assert command.main([*line[3:], "--continue"]) == 0
    assert result.read_bytes() == before
    assert command.main([*line[3:], "--continue", "--rounds", "2"]) == 0
    assert result.read_bytes() != before


def test_the_list_names_every_section(capsys):
    assert command.main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(SECTIONS)


def test_a_mistake_is_told_before_anything_runs(capsys):
    for arguments, message in (
        (["trainin"], "invalid choice: 'trainin'"),
        (["--quick"], "name another --output"),
        (["--rounds", "0"], "use 1 or more"),
        (["--device", "tpu"], "use auto, cpu, cuda or mps"),
    ):
        with pytest.raises(SystemExit):
            command.main(arguments)
        assert message in capsys.readouterr().err
