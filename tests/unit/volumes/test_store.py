import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.store import STORE_VERSION, EntryBusyError, PreparedStore

RECIPE = {"content": "abc", "channel": 1}
STATISTICS = Intensity(mean=100.25, std=7.5)


class Source:
    """As much of a reader as the store asks for."""

    def __init__(self, *files: Path) -> None:
        self.path, self.files, self.chosen = files[0], files, ()


@pytest.fixture
def store(tmp_path: Path) -> PreparedStore:
    return PreparedStore(tmp_path / "store")


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float16)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "image.tif"
    path.write_bytes(b"pixels")
    long_ago = time.time() - 1000
    os.utime(path, (long_ago, long_ago))
    return Source(path)


def test_what_is_saved_is_found_again_bit_for_bit(store, volume) -> None:
    assert store.find(RECIPE) is None
    saved = store.save(RECIPE, volume, STATISTICS, "a.tif, channel 1")

    found = store.find(RECIPE)

    assert found == saved
    assert pickle.loads(pickle.dumps(found)) == saved
    opened = found.open()
    np.testing.assert_array_equal(opened, volume)
    assert opened.dtype == np.float16
    assert not opened.flags.writeable
    assert found.intensity == STATISTICS
    np.testing.assert_array_equal(np.load(found.path), volume)  # an ordinary .npy file


def test_the_sidecar_tells_people_what_it_is(store, volume) -> None:
    saved = store.save(RECIPE, volume, STATISTICS, "a.tif, channel 1")

    note = json.loads(saved.path.with_suffix(".json").read_text())

    assert note["version"] == STORE_VERSION
    assert note["source"] == "a.tif, channel 1"
    assert note["recipe"] == RECIPE
    assert note["intensity"] == {"mean": 100.25, "std": 7.5}
    for change in ({"channel": 2}, {"content": "abd"}, {"order": "x"}):
        assert store.find({**RECIPE, **change}) is None


def test_what_is_not_whole_counts_as_missing(store, volume) -> None:
    for damage in (
        lambda path, sidecar: sidecar.unlink(),
        lambda path, sidecar: sidecar.write_text(sidecar.read_text()[:30]),
        lambda path, sidecar: path.write_bytes(path.read_bytes()[:-1]),
        lambda path, sidecar: path.unlink(),
    ):
        path = store.save(RECIPE, volume, STATISTICS, "").path
        assert store.find(RECIPE) is not None
        damage(path, path.with_suffix(".json"))
        assert store.find(RECIPE) is None


def test_a_volume_that_vanishes_during_a_run_is_named(store, volume) -> None:
    saved = store.save(RECIPE, volume, STATISTICS, "")
    saved.path.unlink()

    with pytest.raises(UserError, match=r"\.npy: prepared volume is gone"):
        saved.open()


def test_the_content_hash_is_remembered_until_the_file_changes(
    store, source, monkeypatch
) -> None:
    monkeypatch.setattr("continual_repmode.volumes.store._SETTLED_S", -1.0)
    assert store.known_content_hash(source) is None
    first = store.content_hash(source)
    assert store.known_content_hash(source) == first

    stat = source.path.stat()
    source.path.write_bytes(b"PIXELS")  # as long as before
    os.utime(source.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # and as old

    assert store.known_content_hash(source) is None
    assert store.content_hash(source) != first


def test_content_is_that_of_all_files_and_no_name(store, source, tmp_path) -> None:
    copy, other = tmp_path / "copy.tif", tmp_path / "part2.tif"
    copy.write_bytes(source.path.read_bytes())
    assert store.content_hash(Source(copy)) == store.content_hash(source)
    assert store.known_content_hash(Source(copy)) is None  # it was just written
    both, hashes = Source(source.path, other), set()
    for content in (b"1", b"2"):
        other.write_bytes(content)
        hashes.add(store.content_hash(both))
    assert len(hashes) == 2
    with pytest.raises(UserError, match=r"gone\.tif: cannot be read"):
        store.content_hash(Source(tmp_path / "gone.tif"))


def test_facts_are_kept_beside(store: PreparedStore) -> None:
    assert store.find_facts(RECIPE) is None

    store.save_facts(RECIPE, {"mean": 0.1, "shift": [1, None]})

    assert store.find_facts(RECIPE) == {"mean": 0.1, "shift": [1, None]}


HOLD = """
import sys, time
from pathlib import Path
from continual_repmode.volumes.store import PreparedStore
with PreparedStore(Path(sys.argv[1])).claim({"content": "abc", "channel": 1}, True):
    print("held", flush=True)
    time.sleep(60)
"""


def test_an_entry_is_made_by_one_process_at_a_time(store: PreparedStore) -> None:
    words = [sys.executable, "-c", HOLD, str(store.folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"

        with pytest.raises(EntryBusyError), store.claim(RECIPE, wait=False):
            pass
        with store.claim({**RECIPE, "channel": 2}, wait=False):
            pass
        other.kill()
    with store.claim(RECIPE, wait=False):  # the claim of a dead process is free again
        pass
    with pytest.raises(UserError, match="damaged"), store.claim(RECIPE, wait=False):
        raise UserError("damaged")
    assert not list(store.folder.rglob("*.lock"))


def test_a_folder_that_cannot_be_written_is_told_with_a_remedy(
    tmp_path: Path, volume: np.ndarray
) -> None:
    (tmp_path / "file").touch()
    store = PreparedStore(tmp_path / "file" / "store")

    with pytest.raises(UserError, match=r"cannot be written .*data\.cache_dir"):
        store.save(RECIPE, volume, STATISTICS, "")
