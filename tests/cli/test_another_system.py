"""Verbs in a process without POSIX, on files that behave as on Windows."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import continual_repmode
from continual_repmode.models import ModelCard, RepModeUNet, save_model
from continual_repmode.results import RunFolder
from continual_repmode.synthetic import simulate_field
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume

RUNNER = Path(__file__).with_name("another_system.py")
TASKS = ("dna", "nucleolus", "nuclear_envelope")
STRANGE = "zelle 細胞 Δ.ome.tif"  # no such letters in code page 1252


def imitated(folder: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, str(RUNNER), *words],
        cwd=folder,
        env={
            **os.environ,
            "IMITATED_BELOW": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONIOENCODING": "cp1252",
        },
        capture_output=True,
        check=False,
    )


def test_a_lab_works_through_without_posix(tmp_path):
    lines = ["task,split,path,channel_signal,channel_target"]
    for seed, task in enumerate(TASKS):
        for index, split in enumerate(("train", "valid", "test")):
            field = np.stack(simulate_field([seed, index], (8, 32, 32), task))
            path = tmp_path / f"{task}{index}.ome.tif"
            names = ["Bright", "EGFP"]
            um = (0.29, 0.29, 0.29)
            save_volume(path, field, axes="CZYX", voxel_size_um=um, channel_names=names)
            lines.append(f"{task},{split},{path.name},Bright,EGFP")
    save_volume(tmp_path / STRANGE, field[0], axes="ZYX", voxel_size_um=um)
    (tmp_path / "lab.csv").write_text("\n".join(lines))
    (tmp_path / "tiny.yaml").write_text("experiences: [[dna], [nucleolus]]\n")
    model = "run/checkpoints/experience_1.safetensors"
    check = ["check", "lab.csv", "--patch-size", "8", "16", "16", "--workers", "1"]
    extend = ["extend", model, "lab.csv", "--task", TASKS[2], "--out", "more"]
    calls = [
        (3, check),
        (0, ["prepare", "lab.csv", "--workers", "2"]),
        (0, ["run", "scenario=tiny.yaml", "data=manifest", "data.manifest=lab.csv",
             "data.patch_size=[8,16,16]", "data.window=[8,16,16]", "model.width=2",
             "model.depth=1", "train.epochs=1", "train.extension_epochs=1",
             "hydra.run.dir=run", "device=cpu"]),
        (0, ["predict", model, STRANGE, "--out", "out"]),
        (0, ["predict", model, STRANGE, "--out", "out", "--overwrite",
             "--tasks", "dna"]),
        (0, ["predict", model, STRANGE, "--out", "out", "--format", "tiff"]),
        (2, ["predict", model, STRANGE + "f", "--out", "out"]),
        (0, [*extend, "--epochs", "2", "--image-curve", "none", "--workers", "1"]),
        (0, ["merge", "more/model.safetensors", model, "--out", "both.safetensors"]),
        (0, ["info", "both.safetensors"]),
        (0, ["report", "run", "more", "--out", "all.html"]),
    ]  # fmt: skip
    words = [word for _, call in calls for word in ("--then", *call)][1:]

    done = imitated(tmp_path, *words)

    output = done.stdout.decode("cp1252") + done.stderr.decode("cp1252")
    statuses = [line for line in output.splitlines() if line.startswith("status ")]
    expected = [f"status {status} {call[0]}" for status, call in calls]
    assert statuses == expected, output[-5000:]
    assert "Traceback" not in output
    assert "zelle \\u7d30\\u80de \\u0394" in output
    results = RunFolder(tmp_path / "run").read_results()
    assert results["old_tasks_unchanged"] is True
    written = open_volume(tmp_path / "out" / STRANGE.replace(".tif", ".zarr"))
    assert written.channel_names == ("dna",)
    assert not list(tmp_path.rglob(".predicting"))
    assert not list(tmp_path.rglob("*.lock"))


def test_paths_that_windows_has_not_are_one_line(tmp_path):
    torch.manual_seed(0)
    card = ModelCard(voxel_size_um=(0.29,) * 3, window=(8, 16, 16))
    save_model(
        RepModeUNet(("dna",), width=2, depth=1), tmp_path / "m.safetensors", card
    )
    field = np.random.default_rng(0).normal(size=(4, 16, 16)).astype(np.float32)
    save_volume(tmp_path / "a.tif", field, axes="ZYX", voxel_size_um=(0.29,) * 3)
    deep = "/".join(["d" * 50] * 5)
    calls = {
        "out.": "'out.': no file can be called so on Windows",
        "a/Aux.x": "'Aux.x': no file can be called so on Windows",
        deep: "characters); choose a folder nearer to the root, or switch on long",
    }
    words = [
        word
        for out in calls
        for word in ("--then", "predict", "m.safetensors", "a.tif", "--out", out)
    ]
    done = imitated(tmp_path, *words[1:])
    told = done.stderr.decode("cp1252")
    assert "Traceback" not in told
    for text in calls.values():
        assert text in told
    assert not list(tmp_path.rglob("*.zarr"))


def test_text_is_written_with_line_ends_of_its_own():
    """On Windows those of text that does not say otherwise become others."""
    package = Path(continual_repmode.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or isinstance(node.func, ast.Name):
                continue
            name, says = getattr(node.func, "attr", ""), {k.arg for k in node.keywords}
            mode = [a.value for a in node.args if isinstance(a, ast.Constant)]
            opens = name == "open" and mode and set(str(mode[0])) & set("wax+")
            if name == "write_text" or (opens and "b" not in str(mode[0])):
                assert "newline" in says, f"{path}:{node.lineno}"
            if name in {"writer", "DictWriter"}:
                assert "lineterminator" in says, f"{path}:{node.lineno}"


FORBIDDEN = {
    "os.sysconf('SC_PAGE_SIZE')": "no attribute 'sysconf'",
    "import fcntl": "No module named 'fcntl'",
    "signal.SIGUSR1": "no attribute 'SIGUSR1'",
    "Path('/proc/self/status').read_text()": "no such file",
    "Path('a').symlink_to('b')": "is not here",
    "Path('a:b').touch()": "Windows refuses",
    "Path('aux.txt').touch()": "Windows refuses",
    "Path('x' * 250).touch()": "No such file or directory",
    "Path('READ.me').touch()": "by case only",
    "f = open('read.me'); Path('read.me').unlink()": "in use",
    "f = np.load('a.npy', mmap_mode='r'); Path('b.npy').replace('a.npy')": "in use",
    "Path('b.npy').rename('a.npy')": "exists",
    "multiprocessing.get_context('fork')": "fork",
}
SCRIPT = """
import json, runpy, sys
runner, forbidden = json.loads(sys.argv[1])
runpy.run_path(runner, run_name="__mp_main__")
for code, told in forbidden.items():
    names = {"__name__": "continual_repmode.some_module"}
    try:
        exec("import multiprocessing, os, signal; from pathlib import Path", names)
        exec("import numpy as np", names)
        exec(compile(code, "code", "exec"), names)
    except Exception as error:
        assert told in str(error), (code, error)
    else:
        raise AssertionError(f"allowed: {code}")
    names.clear()
"""


def test_the_imitation_refuses_what_windows_does(tmp_path):
    (tmp_path / "read.me").write_text("x")
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, np.ones(3))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([str(RUNNER), FORBIDDEN])],
        cwd=tmp_path,
        env={**os.environ, "IMITATED_BELOW": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
