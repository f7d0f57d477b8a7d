"""Sound files, cut off anywhere or changed at random: an image, or one line."""

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

KINDS = ("ome-tiff", "deflate", "imagej", "czi", "zstd", "npy")
NUM_CUTS, NUM_CHANGES = 60, 100
ENDS = 1500
"""Headers and directories of small files lie within so many bytes of either end."""


@pytest.fixture
def check_files(tmp_path, sound_rows, as_csv, check):
    """Check many files at once, each in a row of its own."""

    def run(paths: list[Path]):
        rows = [{**sound_rows[0], "path": path.name} for path in paths]
        (tmp_path / "manifest.csv").write_text(as_csv([*sound_rows, *rows]))
        return check()

    return run


def copies(folder: Path, source: Path, contents: Iterator[bytes]) -> list[Path]:
    paths = []
    for number, content in enumerate(contents):
        path = folder / f"file{number}{''.join(source.suffixes)}"
        path.write_bytes(content)
        if source.suffix == ".npy":
            sidecar = '{"axes": "CZYX", "voxel_size_um": [0.29, 0.29, 0.29]}'
            path.with_suffix(".json").write_text(sidecar)
        paths.append(path)
    return paths


def changed(content: bytes, rng: random.Random) -> bytes:
    """Change, drop or insert a few bytes, most often near the ends."""
    size = len(content)
    near_start, near_end = rng.randrange(ENDS), size - 1 - rng.randrange(ENDS)
    at = rng.choice([near_start, near_end, rng.randrange(size)]) % size
    num_bytes = rng.choice([1, 1, 4, 8])
    new = rng.choice([b"\0" * 8, b"\xff" * 8, b"\xff" * 7 + b"\x7f", rng.randbytes(8)])
    dropped = rng.choice([num_bytes, num_bytes, num_bytes, 0, 2 * num_bytes])
    return content[:at] + new[:num_bytes] + content[at + dropped :]


def assert_told_by_row(errors: list[str]) -> None:
    """Some files were refused, some were not, and each error names its row."""
    found = [re.match(r"manifest\.csv: row (\d+)", line) for line in errors]
    rows = {int(match[1]) for match in found if match}
    assert all(found)
    assert 0 < len(rows) < NUM_CHANGES


@pytest.mark.parametrize("kind", KINDS)
def test_no_beginning_of_a_file_is_taken_for_the_whole(
    kind, sound, tmp_path, check_files
):
    content = sound[kind].read_bytes()
    pixels_end = len(content.rstrip(b"\0"))  # files may be padded
    rng = random.Random(kind)
    shares = [pixels_end * percent // 100 for percent in (1, 10, 50, 90, 99)]
    lengths = sorted([*shares, *rng.sample(range(pixels_end), NUM_CUTS)])
    paths = copies(tmp_path, sound[kind], (content[:n] for n in lengths))
    errors = check_files(paths).errors
    for path, line in zip(paths, errors, strict=True):
        assert f"{path.name}:" in line
        if path.stat().st_size:
            assert "incomplete" in line or "not a " in line


@pytest.mark.parametrize("kind", KINDS)
def test_changed_bytes_are_an_image_or_an_error(kind, sound, tmp_path, check_files):
    content = sound[kind].read_bytes()
    rng = random.Random(kind)
    all_changed = (changed(content, rng) for _ in range(NUM_CHANGES))
    paths = copies(tmp_path, sound[kind], all_changed)
    assert_told_by_row(check_files(paths).errors)


def test_changed_bytes_of_an_ome_zarr_are_an_image_or_an_error(
    sound, tmp_path, check_files
):
    rng = random.Random(0)
    paths = []
    for number in range(NUM_CHANGES):
        path = tmp_path / f"file{number}.zarr"
        shutil.copytree(sound["zarr"], path)
        file = rng.choice(sorted(file for file in path.rglob("*") if file.is_file()))
        file.write_bytes(changed(file.read_bytes(), rng))
        paths.append(path)
    assert_told_by_row(check_files(paths).errors)
