import gzip
import hashlib
import io
import json
import random
import resource
import shutil
import tarfile
import time
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from continual_repmode.allen.archive import has_record, missing_files, unpack
from continual_repmode.allen.archive_stream import DamagedArchiveError
from continual_repmode.errors import UserError

NOISE = random.Random(0).randbytes(3000)
FILES = {
    "zo1/a.czi": NOISE[:2048],
    "zo1/b.czi": NOISE[:999],
    "zo1/more/c.tif": b"",
    "zo1/d.czi": NOISE,
}


@pytest.fixture
def archive(tmp_path, pack):
    (tmp_path / "zo1.tar.gz").write_bytes(pack(FILES))
    return tmp_path / "zo1.tar.gz"


def attempt(archive: Path, **kwargs: Any) -> UserError:
    """Unpack in vain: nothing may be left, inside or outside of the folder."""
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(UserError) as told:
        unpack(archive, archive.parent / "zo1", **kwargs)
    assert sorted(archive.parent.rglob("*")) == before
    assert "\n" not in str(told.value)
    assert str(archive) in str(told.value)
    return told.value


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder.parent).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "contents.json"
    }


def retar(data: bytes) -> bytes:
    return gzip.compress(data, 1)


def test_the_files_and_a_record_of_their_sizes_appear(archive):
    folder = archive.parent / "zo1"

    unpack(archive, folder)

    assert contents(folder) == FILES
    record = json.loads((folder / "contents.json").read_text())
    assert record["num_files"] == 4
    assert record["files"]["more/c.tif"] == 0
    assert record["files"]["d.czi"] == 3000
    assert has_record(folder)
    assert missing_files(folder) == []
    assert sorted(p.name for p in archive.parent.iterdir()) == ["zo1", "zo1.tar.gz"]


def test_a_folder_of_the_same_name_in_the_archive_is_no_second_one(tmp_path, pack):
    for number, prefix in enumerate(("", "./", "./zo1/", "zo1//")):
        (tmp_path / "zo1.tar.gz").write_bytes(pack({f"{prefix}a.czi": NOISE}))
        folder = tmp_path / str(number) / "zo1"
        folder.parent.mkdir()
        unpack(tmp_path / "zo1.tar.gz", folder)
        assert contents(folder) == {"zo1/a.czi": NOISE}, prefix


def test_permissions_are_those_of_new_files(tmp_path, pack):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("zo1/a.czi")
        info.mode, info.uid = 0o6777, 0
        tar.addfile(info)
    (tmp_path / "zo1.tar.gz").write_bytes(buffer.getvalue())
    (tmp_path / "new").touch()

    unpack(tmp_path / "zo1.tar.gz", tmp_path / "zo1")

    mode = (tmp_path / "zo1/a.czi").stat().st_mode
    assert mode == (tmp_path / "new").stat().st_mode


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


NOT_PLAIN = [
    (member("/etc/evil"), "outside"),
    (member("zo1/../../evil"), "outside"),
    (member(".."), "outside"),
    (member("zo1\\..\\evil"), "outside"),
    (member("zo1/link", tarfile.SYMTYPE, "/etc"), "neither a plain file"),
    (member("zo1/link", tarfile.SYMTYPE, "a.czi"), "neither a plain file"),
    (member("zo1/link", tarfile.LNKTYPE, "/etc/passwd"), "neither a plain file"),
    (member("zo1/link", tarfile.LNKTYPE, "zo1/a.czi"), "neither a plain file"),
    (member("zo1/sda", tarfile.BLKTYPE), "neither a plain file"),
    (member("zo1/tty", tarfile.CHRTYPE), "neither a plain file"),
    (member("zo1/pipe", tarfile.FIFOTYPE), "neither a plain file"),
    (member("zo1/a.czi"), "is taken"),
    (member("zo1/A.CZI"), "is taken"),
    (member("ZO1/a.czi"), "is taken"),
    (member("./zo1/./a.czi"), "is taken"),
    (member("zo1/a.czi/b"), "is taken"),
    (member("zo1/a.czi", tarfile.DIRTYPE), "is taken"),
    (member("zo1/more"), "is taken"),
    (member("zo1/a\nb"), "no file name"),
    (member("zo1/\x1b[31m"), "no file name"),
    (member("."), "no file name"),
    (member("/".join("a" * 30)), "no file name"),
    (member("zo1/contents.json"), "a name that is taken"),
]


def test_what_is_not_a_plain_file_of_the_folder_is_refused(tmp_path, pack):
    for bad, reason in NOT_PLAIN:
        (tmp_path / "zo1.tar.gz").write_bytes(pack(FILES, [bad]))
        assert reason in str(attempt(tmp_path / "zo1.tar.gz")), bad.name


def test_a_link_planted_in_place_of_the_folder_is_not_followed(archive):
    outside = archive.parent / "outside"
    outside.mkdir()
    (archive.parent / ".zo1.unpacking").symlink_to(outside)
    with pytest.raises(UserError):
        unpack(archive, archive.parent / "zo1")
    assert list(outside.iterdir()) == []


def test_cut_off_anywhere_it_is_damaged(archive):
    whole = archive.read_bytes()
    chance = random.Random(1)
    cuts = {0, 1, 9, 10, 11, len(whole) - 1, len(whole) - 8, len(whole) - 9}
    for cut in sorted(cuts | {chance.randrange(len(whole)) for _ in range(12)}):
        archive.write_bytes(whole[:cut])
        assert isinstance(attempt(archive), DamagedArchiveError)


def test_a_changed_byte_anywhere_is_found_by_the_checksum(archive):
    whole = archive.read_bytes()
    sha256 = hashlib.sha256(whole).hexdigest()
    chance = random.Random(2)
    for _ in range(40):
        broken = bytearray(whole)
        broken[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        archive.write_bytes(broken)
        attempt(archive, sha256=sha256)


def test_a_cut_before_compression_is_damage_too(archive):
    data = gzip.decompress(archive.read_bytes())
    end_of_b = data.index(b"zo1/more/c.tif")
    for cut in (512, 1024, 512 + 2048, end_of_b, end_of_b - 512, end_of_b + 512):
        archive.write_bytes(retar(data[:cut]))
        assert isinstance(attempt(archive), DamagedArchiveError)


def test_a_broken_header_is_not_taken_for_the_end(archive):
    data = bytearray(gzip.decompress(archive.read_bytes()))
    at = data.index(b"zo1/d.czi")
    data[at] ^= 1
    archive.write_bytes(retar(bytes(data)))
    assert isinstance(attempt(archive), DamagedArchiveError)


def test_nothing_but_some_padding_may_follow_the_end(archive):
    whole = gzip.decompress(archive.read_bytes())
    for trailer in (b"x", b"\0" * 5000 + b"x", b"\0" * (1 << 25)):
        archive.write_bytes(retar(whole + trailer))
        assert isinstance(attempt(archive), DamagedArchiveError), trailer[-1:]


def test_what_is_no_archive_is_damaged(archive, pack):
    whole, web_page = archive.read_bytes(), b"<html>Log in first</html>"
    with zipfile.ZipFile(archive.with_name("a.zip"), "w") as file:
        file.writestr("zo1/a.czi", b"a")
    as_zip = archive.with_name("a.zip").read_bytes()
    tar, twice = gzip.decompress(whole), gzip.compress(whole)
    for content in (b"", web_page, gzip.compress(b""), b"\x1f\x8b", as_zip, tar, twice):
        archive.write_bytes(content)
        assert isinstance(attempt(archive), DamagedArchiveError), content[:99]
    archive.write_bytes(pack({}))
    assert "holds no files" in str(attempt(archive))


def test_whatever_the_headers_say_it_stays_in_the_folder(archive):
    data = gzip.decompress(archive.read_bytes())
    headers = [i for i in range(0, len(data), 512) if data[i : i + 3] == b"zo1"]
    chance = random.Random(0)
    for _ in range(120):
        broken = bytearray(data)
        start = chance.choice(headers)
        for _ in range(chance.randrange(1, 4)):
            broken[start + chance.randrange(512)] = chance.randrange(256)
        block = broken[start : start + 512]
        block[148:156] = b" " * 8
        broken[start + 148 : start + 156] = b"%06o\0 " % sum(block)
        archive.write_bytes(retar(bytes(broken)))
        try:
            unpack(archive, archive.parent / "zo1")
        except UserError:
            pass
        else:
            assert missing_files(archive.parent / "zo1") == []
            shutil.rmtree(archive.parent / "zo1")
        assert [path.name for path in archive.parent.iterdir()] == ["zo1.tar.gz"]


def bomb(kind: bytes, size: int, *, repeat: int = 1) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        for _ in range(repeat):
            info = member("zo1/bomb", kind)
            info.size = size
            file.write(info.tobuf(tarfile.GNU_FORMAT))
            for _ in range(size // (1 << 20)):
                file.write(bytes(1 << 20))
            file.write(bytes(size % (1 << 20)))
            file.write(bytes(-size % 512))
        file.write(bytes(1024))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "size", "repeat"),
    [
        (tarfile.REGTYPE, 300 << 20, 1),
        (tarfile.XHDTYPE, 300 << 20, 1),
        (tarfile.GNUTYPE_LONGNAME, 300 << 20, 1),
        (tarfile.XHDTYPE, 1024, 50_000),
        (tarfile.GNUTYPE_LONGNAME, 1 << 13, 10_000),
    ],
)
def test_a_bomb_is_refused_before_it_takes_time_or_memory(archive, kind, size, repeat):
    archive.write_bytes(bomb(kind, size, repeat=repeat))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    attempt(archive)
    assert time.perf_counter() - started < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 100_000


def test_absurdly_many_members_are_refused(tmp_path):
    info = member("zo1/a", tarfile.DIRTYPE)
    data = b"".join([info.tobuf(tarfile.GNU_FORMAT)] * 11_000) + bytes(1024)
    (tmp_path / "zo1.tar.gz").write_bytes(retar(data))
    assert "no archive of this size" in str(attempt(tmp_path / "zo1.tar.gz"))


def test_more_than_the_disk_holds_is_refused(archive, monkeypatch):
    usage = namedtuple("usage", "total used free")(1, 1, 4000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert "the disk has 4 kB free" in str(attempt(archive))


def test_what_a_killed_process_left_is_cleared_away(archive):
    leftover = archive.parent / ".zo1.unpacking" / "zo1"
    leftover.mkdir(parents=True)
    (leftover / "half.czi").write_bytes(NOISE)

    unpack(archive, archive.parent / "zo1")

    assert contents(archive.parent / "zo1") == FILES
    assert not leftover.exists()


def test_a_folder_that_lost_files_is_mended_and_other_files_stay(archive):
    folder = archive.parent / "zo1"
    unpack(archive, folder)
    (folder / "a.czi").write_bytes(b"short")
    shutil.rmtree(folder / "more")
    (folder / "mine.txt").write_text("notes")
    assert missing_files(folder) == ["a.czi", "more/c.tif"]

    unpack(archive, folder)

    assert missing_files(folder) == []
    assert contents(folder) == {**FILES, "zo1/mine.txt": b"notes"}


def test_a_folder_with_a_broken_record_is_none_of_ours(archive):
    folder = archive.parent / "zo1"
    unpack(archive, folder)
    for record in (b"", b"[]", b"{}", b'{"files": 1}'):
        (folder / "contents.json").write_bytes(record)
        assert not has_record(folder), record
