"""Damaged files: refused in one line, or gone on without."""

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from continual_repmode.allen.download import Source
from tests.faults.conftest import ARCHIVE, VERBS, attempt, learned, outcome

ODD = (5, -1, 1e308, "x", "", [], {}, [[]], None, True)
"""What may stand in the place of anything in a JSON file."""


def damaged(data: bytes, rng: random.Random) -> Iterator[bytes]:
    middle = rng.randrange(1, max(2, len(data) - 1))
    yield b""
    yield data[:middle]
    yield data[: -rng.randrange(1, 40)]
    yield data[:middle] + bytes([data[middle] ^ 64]) + data[middle + 1 :]
    yield rng.randbytes(len(data))
    yield data + b"more"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in list(keys):
            yield from places(value[key], (*path, key))


def mutated(text: str, rng: random.Random) -> str:
    """Return JSON with one value replaced, or one key left out."""
    content = json.loads(text)
    *above, last = rng.choice([p for p in places(content) if p])
    inner = content
    for key in above:
        inner = inner[key]
    if isinstance(inner, dict) and rng.random() < 0.3:
        del inner[last]
    else:
        inner[last] = rng.choice(ODD)
    return json.dumps(content)


def check_state(lab: Path, template: Path, name: str, content: bytes, tally) -> None:
    """Damage a file of the unfinished run, and go on with it."""
    path = lab / "half" / name
    path.write_bytes(content)
    done = attempt(("run", "resume=half"), lab, lambda: None)
    assert done.is_clean, f"{name}: {done.said}"
    equal = done.status == 0 and learned(lab / "half") == learned(lab / "run")
    if name != "config.yaml":
        assert done.status == 0, f"{name}: {done.said}"
    if not name.endswith(".json"):  # a number in a record may be another one
        assert done.status == 2 or equal, name
    told = done.said.count("experience begins anew") + done.said.count("going back to")
    assert told <= 1, done.said
    tally.add(done, equal)
    shutil.rmtree(lab / "half")
    shutil.copytree(template / "half", lab / "half")


STATE = (
    "state/training.pt",
    "state/best_weights.pt",
    "checkpoints/experience_0.safetensors",
    "experiences/experience_0.json",
    "run.json",
    "config.yaml",
)


@pytest.mark.parametrize("name", STATE)
def test_a_damaged_file_of_a_run_is_refused_or_done_without(name, lab, template, tally):
    rng = random.Random(name)
    for content in damaged((lab / "half" / name).read_bytes(), rng):
        check_state(lab, template, name, content, tally)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in STATE if n.endswith(".json")])
def test_json_of_a_run_with_a_wrong_value_is_refused_or_used(
    name, lab, template, tally
):
    rng = random.Random(name)
    text = (lab / "half" / name).read_text()
    for _ in range(60):
        check_state(lab, template, name, mutated(text, rng).encode(), tally)


def check_report(lab: Path, template: Path, name: str, text: str, tally) -> None:
    (lab / "run" / name).write_text(text)
    done = attempt(("report", "run", "--out", "r.html", "--overwrite"), lab, int)
    assert done.is_clean, f"{name}: {text}: {done.said}"
    tally.add(done)
    shutil.copy(template / "run" / name, lab / "run" / name)


SHOWN = ("results.json", "run.json", "experiences/experience_1.json")


@pytest.mark.parametrize("name", SHOWN)
def test_a_report_of_wrong_values_is_refused_or_made(name, lab, template, tally):
    rng = random.Random(name)
    text = (lab / "run" / name).read_text()
    for _ in range(8):
        check_report(lab, template, name, mutated(text, rng), tally)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_a_report_of_many_wrong_values_is_refused_or_made(name, lab, template, tally):
    rng = random.Random(name + "again")
    text = (lab / "run" / name).read_text()
    for _ in range(80):
        check_report(lab, template, name, mutated(text, rng), tally)


def test_a_damaged_model_file_is_refused(lab, template, tally):
    rng = random.Random(3)
    path = lab / "model.safetensors"
    words = ("predict", "model.safetensors", "in", "--out", "p", "--device", "cpu")
    for content in damaged(path.read_bytes(), rng):
        path.write_bytes(content)
        done = attempt(words, lab, int)
        assert done.status == 2, done.said
        assert done.is_clean, done.said
        tally.add(done)


IN_DOWNLOADS = ("zo1.tar.gz.part", "zo1.tar.gz.part.json", "zo1.tar.gz",
                "zo1/contents.json", "zo1/1.czi", "checksums.json")  # fmt: skip


@pytest.mark.parametrize("name", IN_DOWNLOADS)
def test_a_damaged_download_is_told_or_mended(name, lab, mirror, tally):
    rng = random.Random(name)
    archive = mirror.files["/zo1.tar.gz"]
    half = archive[: len(archive) // 2]
    note = Source(f"{mirror.url}/zo1.tar.gz", len(archive), '"one"', None)
    if ".part" in name:
        sound = {"zo1.tar.gz.part": half,
                 "zo1.tar.gz.part.json": json.dumps(asdict(note)).encode()}  # fmt: skip
    else:
        assert attempt(VERBS["download"], lab, int).status == 0
        sound = {n: (lab / "new" / n).read_bytes() for n in IN_DOWNLOADS[2:]}
    for content in damaged(sound[name], rng):
        shutil.rmtree(lab / "new", ignore_errors=True)
        for other, data in {**sound, name: content}.items():
            if name == "zo1.tar.gz" and other.startswith("zo1/"):
                continue  # to be unpacked again
            path = lab / "new" / other
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for _ in range(2):  # a damaged archive is set aside, then downloaded again
            done = attempt(VERBS["download"], lab, int)
            assert done.is_clean, done.said
            if done.status == 0:
                break
        same = outcome("download", lab) == ARCHIVE
        assert same or done.status == 2 or name == "zo1/1.czi", done.said
        tally.add(done, same)


def test_a_damaged_record_of_a_table_is_told(lab, tally):
    assert attempt(VERBS["tables"], lab, int).status == 0
    rng = random.Random(5)
    for path in sorted((lab / "new/runs").glob("*.json")):
        sound = path.read_bytes()
        for content in (*damaged(sound, rng), mutated(sound.decode(), rng).encode()):
            path.write_bytes(content)
            done = attempt(VERBS["tables"], lab, int)
            assert done.is_clean, done.said
            tally.add(done)
        path.write_bytes(sound)
