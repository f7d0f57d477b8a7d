"""Preparation as a user sees it: killed, shared by two processes, gone on with."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from continual_repmode.__main__ import main

UM = {"PhysicalSizeZ": 0.29, "PhysicalSizeY": 0.108, "PhysicalSizeX": 0.108}
NUM_IMAGES = 8


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Return a manifest over some images that take a while to resize."""
    folder = tmp_path_factory.mktemp("images")
    rng, shape = np.random.default_rng(0), (2, 16, 200, 200)
    lines = ["task,path,channel_signal,channel_target,split"]
    for index in range(NUM_IMAGES):
        light = 2000 + 3000 * gaussian_filter(rng.normal(size=shape), 1)
        tifffile.imwrite(
            folder / f"image{index}.ome.tif",
            light.astype(np.uint16),
            ome=True,
            photometric="minisblack",
            metadata={"axes": "CZYX", **UM},
        )
        lines.append(f"dna,image{index}.ome.tif,0,1,train")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def prepared(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.rglob("*.npy"))}


@pytest.fixture(scope="module")
def expected(manifest, command):
    done = command(
        *("prepare", str(manifest), "--cache-dir", "whole", "--workers", "1"),
        cwd=manifest.parent,
    )
    assert done.returncode == 0, done.stderr
    num_bytes = NUM_IMAGES * 2 * (16 * 74 * 74) * 2  # half precision on the model grid
    assert f"{NUM_IMAGES} pairs, at most {num_bytes / 1e6:.3g} MB" in done.stdout
    arrays = prepared(manifest.parent / "whole")
    assert len(arrays) == 2 * NUM_IMAGES
    return arrays


def test_a_killed_preparation_goes_on(manifest, expected, spawn, command):
    words = ("prepare", str(manifest), "--cache-dir", "killed", "--workers", "1")
    store = manifest.parent / "killed"
    process = spawn(*words, cwd=manifest.parent)
    deadline = time.monotonic() + 120
    while len(prepared(store)) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    first = prepared(store)
    assert 4 <= len(first) < 2 * NUM_IMAGES

    done = command(*words, cwd=manifest.parent)

    assert done.returncode == 0, done.stderr
    assert {name: prepared(store)[name] for name in expected} == expected


def test_two_at_once_share_the_work(manifest, expected, spawn):
    words = ("prepare", str(manifest), "--cache-dir", "shared", "--workers", "1")
    both = [spawn(*words, cwd=manifest.parent) for _ in range(2)]

    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert re.search(r"prepared in .*shared", out)

    assert prepared(manifest.parent / "shared") == expected


def test_a_bad_option_is_one_line(manifest, capsys):
    whole = "use a whole number, 1 or"
    for option, value, message in (
        ("--resize", "best", "invalid choice: 'best'"),
        ("--workers", "0", f"'0': {whole}"),
        ("--workers", "-3", f"'-3': {whole}"),
    ):
        assert main(["prepare", str(manifest), option, value]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: argument {option}")
        assert f": {message}" in line
