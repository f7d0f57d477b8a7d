import dataclasses
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from continual_repmode.allen.catalog import DATASETS, Dataset
from continual_repmode.allen.download import Patience
from continual_repmode.allen.folder import (
    AllenFolder,
    Checksums,
    Step,
    describe_step,
    disk_need,
    locked,
    sha256_of,
)
from continual_repmode.allen.web import web_opener
from continual_repmode.errors import UserError

ZO1 = next(dataset for dataset in DATASETS if dataset.name == "zo1")
NOISE = random.Random(0).randbytes(50_000)
FILES = {"zo1/a.czi": NOISE, "zo1/b.czi": NOISE[:20_000], "zo1/._a.czi": b"mac"}
HASTY = Patience(timeout_s=0.4, max_failures=3, pause_s=0.0)


class Fetcher:
    """Downloads zo1 from a server into a folder, as the command does."""

    def __init__(self, web: Any, path: Path) -> None:
        self.base, self.folder = f"{web.url}/", AllenFolder(path)

    def __call__(self, dataset: Dataset = ZO1) -> list[Step]:
        steps = self.folder.plan([dataset], self.base, web_opener())
        for step in steps:
            self.folder.carry_out(step, self.base, web_opener(), HASTY)
        return steps


@pytest.fixture
def fetch(web, tmp_path, pack):
    web.files["/zo1.tar.gz"] = pack(FILES)
    return Fetcher(web, tmp_path / "allen")


def names(fetch: Fetcher) -> list[str]:
    return sorted(path.name for path in fetch.folder.path.iterdir())


def test_an_archive_becomes_a_folder_and_is_not_fetched_again(web, fetch):
    (step,) = fetch()

    archive = web.files["/zo1.tar.gz"]
    assert (step.archive_bytes, step.here_bytes) == (len(archive), 0)
    assert fetch.folder.state(ZO1) == "complete"
    assert fetch.folder.images(ZO1) == ["a.czi", "b.czi"]
    assert names(fetch) == ["checksums.json", "zo1", "zo1.tar.gz"]
    recorded = json.loads((fetch.folder.path / "checksums.json").read_text())
    assert recorded["zo1.tar.gz"] == {
        "sha256": hashlib.sha256(archive).hexdigest(),
        "size": len(archive),
        "source": f"{fetch.base}zo1.tar.gz",
    }
    assert fetch() == []
    assert len(web.gets) == 1


def test_a_begun_download_is_planned_as_such(web, fetch):
    web.answers.append(dataclasses.replace(web.usual, cut=30_000))
    web.answers.extend([dataclasses.replace(web.usual, status=500)] * 3)
    with pytest.raises(UserError):
        fetch()
    assert fetch.folder.state(ZO1) == "begun"

    (step,) = fetch()

    assert step.here_bytes == 30_000
    assert fetch.folder.state(ZO1) == "complete"


def test_an_archive_put_there_by_hand_is_unpacked(web, fetch):
    fetch.folder.path.mkdir()
    archive = fetch.folder.path / "zo1.tar.gz"
    archive.write_bytes(web.files["/zo1.tar.gz"])
    assert fetch.folder.state(ZO1) == "packed"

    fetch()

    assert fetch.folder.state(ZO1) == "complete"
    assert web.gets == []


@pytest.mark.parametrize("recorded", [True, False])
def test_an_archive_of_another_size_is_left_alone(web, fetch, recorded):
    if recorded:
        fetch()
        (fetch.folder.path / "zo1/a.czi").unlink()
    fetch.folder.path.mkdir(exist_ok=True)
    archive = fetch.folder.path / "zo1.tar.gz"
    archive.write_bytes(b"half")
    with pytest.raises(UserError, match=r"has 4 bytes instead of \d+; delete it"):
        fetch()
    assert archive.read_bytes() == b"half"


def test_less_announced_than_there_is_is_never_whole(web, fetch):
    whole = web.files["/zo1.tar.gz"]
    good = web.usual
    web.usual = dataclasses.replace(good, length=str(len(whole) - 5000))

    with pytest.raises(UserError, match=r"incomplete or damaged.*same command again"):
        fetch()

    assert names(fetch) == ["checksums.json", "zo1.tar.gz.damaged"]
    web.usual = good
    fetch()  # the checksum of the damaged one does not stand in the way
    assert fetch.folder.state(ZO1) == "complete"


def test_corrupt_bytes_leave_nothing_that_looks_whole(web, pack, tmp_path):
    whole = pack(FILES)
    for at in (0, 5000, 30_000, -3):
        fetch, broken = Fetcher(web, tmp_path / str(at)), bytearray(whole)
        broken[at] ^= 0xFF
        web.files["/zo1.tar.gz"] = bytes(broken)

        with pytest.raises(UserError, match="incomplete or damaged"):
            fetch()

        assert names(fetch) == ["checksums.json", "zo1.tar.gz.damaged"], at
        web.files["/zo1.tar.gz"] = whole
        fetch()
        assert fetch.folder.state(ZO1) == "complete"


def test_another_archive_than_the_first_is_refused_naming_both(web, fetch, pack):
    fetch()
    first = hashlib.sha256(web.files["/zo1.tar.gz"]).hexdigest()
    (fetch.folder.path / "zo1.tar.gz").unlink()
    (fetch.folder.path / "zo1/b.czi").unlink()
    web.files["/zo1.tar.gz"] = pack({**FILES, "zo1/b.czi": NOISE[::-1]})
    other = hashlib.sha256(web.files["/zo1.tar.gz"]).hexdigest()

    with pytest.raises(UserError, match=f"{other}.*{first}"):
        fetch()

    assert fetch.folder.state(ZO1) == "damaged"
    (fetch.folder.path / "checksums.json").unlink()  # as the message proposes
    fetch()
    assert (fetch.folder.path / "zo1/b.czi").read_bytes() == NOISE[::-1]
    assert len(web.gets) == 2


def test_an_archive_that_changed_on_the_disk_is_not_unpacked(web, fetch):
    fetch()
    archive = fetch.folder.path / "zo1.tar.gz"
    changed = bytearray(archive.read_bytes())
    changed[4] ^= 1  # the time in the header of the compression: harmless in itself
    archive.write_bytes(changed)
    (fetch.folder.path / "zo1/b.czi").unlink()

    with pytest.raises(UserError, match=r"but was .* when it was downloaded"):
        fetch()

    fetch()
    assert fetch.folder.state(ZO1) == "complete"
    assert len(web.gets) == 2


def test_files_that_vanished_come_back(web, fetch):
    fetch()
    (fetch.folder.path / "zo1/b.czi").write_bytes(b"short")
    assert fetch.folder.state(ZO1) == "damaged"
    fetch()
    assert (fetch.folder.path / "zo1/b.czi").read_bytes() == NOISE[:20_000]
    assert len(web.gets) == 1  # the archive was still there


def test_a_folder_unpacked_by_other_means_is_taken_if_complete(web, fetch):
    folder = fetch.folder.path / "zo1"
    folder.mkdir(parents=True)
    for index in range(79):
        (folder / f"{index}.czi").touch()
    with pytest.raises(UserError, match="79 images instead of 80"):
        fetch()

    (folder / "79.czi").touch()

    assert fetch() == []
    assert fetch.folder.state(ZO1) == "found"
    fetch.folder.delete_archive(ZO1)
    assert len(fetch.folder.images(ZO1)) == 80


def test_an_archive_is_deleted_only_after_it_was_unpacked(fetch):
    fetch()
    (fetch.folder.path / "zo1/a.czi").unlink()
    fetch.folder.delete_archive(ZO1)
    assert (fetch.folder.path / "zo1.tar.gz").exists()

    fetch()
    fetch.folder.delete_archive(ZO1)

    assert names(fetch) == ["checksums.json", "zo1"]
    assert fetch.folder.state(ZO1) == "complete"


def test_a_missing_archive_is_told_before_anything_starts(web, fetch):
    del web.files["/zo1.tar.gz"]
    with pytest.raises(UserError, match=r"zo1.tar.gz: the server has no such file"):
        fetch()
    assert not fetch.folder.path.exists()


def test_a_server_that_hides_sizes_does_not_stop_the_plan(web, fetch):
    web.usual = dataclasses.replace(web.usual, length=None)
    (step,) = fetch.folder.plan([ZO1], fetch.base, web_opener())
    assert step.archive_bytes is None
    assert "size unknown" in describe_step(step)


def test_the_need_for_disk_counts_what_is_there_at_once():
    one, two = Step(ZO1, 10, 0), Step(ZO1, 20, 20)
    # 10 to download, 20 unpacked, 40 unpacked of the archive that is there
    assert disk_need([one, two], keep_archives=True) == 10 + 20 + 40
    assert disk_need([one, two], keep_archives=False) == 20 + 40
    assert disk_need([one], keep_archives=False) == 30
    assert disk_need([Step(ZO1, None, 0)], keep_archives=True) == 0


def test_a_step_is_told_in_plain_words():
    for here, text in (
        (0, "download 2.0 GB and unpack"),
        (5 * 10**8, "download the rest, 1.5 GB of 2.0 GB, and unpack"),
        (2 * 10**9, "unpack 2.0 GB"),
    ):
        assert describe_step(Step(ZO1, 2 * 10**9, here)) == text


def test_a_second_download_into_a_folder_is_kept_out(tmp_path):
    with (
        locked(tmp_path / "allen"),
        pytest.raises(UserError, match="another download into it is running"),
        locked(tmp_path / "allen"),
    ):
        pass
    with locked(tmp_path / "allen"):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="cannot be written to"),
        locked(tmp_path / "file"),
    ):
        pass


def test_the_first_checksum_decides_about_later_ones(tmp_path):
    archive = tmp_path / "zo1.tar.gz.part"
    archive.write_bytes(b"12345")
    Checksums(tmp_path).check(archive, "one", "https://host/zo1.tar.gz")

    later = Checksums(tmp_path)

    assert later.digest("zo1.tar.gz") == "one"
    assert later.size("zo1.tar.gz") == 5
    later.check(archive, "one", "https://elsewhere/zo1.tar.gz")
    with pytest.raises(UserError, match=r"is two, but .* downloaded first was one"):
        later.check(archive, "two", "https://host/zo1.tar.gz")


def test_a_forgotten_checksum_decides_nothing(tmp_path):
    archive = tmp_path / "zo1.tar.gz"
    archive.touch()
    checksums = Checksums(tmp_path)
    checksums.check(archive, "one", "")
    checksums.forget("zo1.tar.gz")
    checksums.forget("tom20.tar.gz")
    checksums.check(archive, "two", "")
    assert checksums.digest("zo1.tar.gz") == "two"


def test_nothing_is_known_of_an_archive_never_seen(tmp_path):
    assert Checksums(tmp_path).digest("zo1.tar.gz") is None
    assert Checksums(tmp_path).size("zo1.tar.gz") is None


def test_a_broken_list_is_not_overwritten(tmp_path):
    wrong_types = '{"a": {"size": "x", "sha256": ""}}'
    for text in ("", "[]", "{", '{"a": 1}', wrong_types, "\0"):
        (tmp_path / "checksums.json").write_text(text)
        with pytest.raises(UserError, match=r"checksums.json: not the list"):
            Checksums(tmp_path).digest("zo1.tar.gz")


def test_a_large_file_is_hashed_in_pieces(tmp_path):
    data = bytes(range(256)) * 40_000
    (tmp_path / "a").write_bytes(data)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data).hexdigest()
