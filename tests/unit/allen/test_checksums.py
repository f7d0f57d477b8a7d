import hashlib

import pytest

from continual_repmode.allen.folder import Checksums, sha256_of
from continual_repmode.errors import UserError


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
