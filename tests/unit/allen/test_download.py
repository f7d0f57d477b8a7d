import dataclasses
import errno
import os
import random
import shutil
from collections import namedtuple
from typing import Any

import pytest

from continual_repmode.allen.download import Part, Patience, receive
from continual_repmode.allen.web import web_opener
from continual_repmode.errors import UserError

BODY = random.Random(0).randbytes(300_000)
HASTY = Patience(timeout_s=0.4, max_failures=3, pause_s=0.0)


@pytest.fixture
def part(tmp_path):
    return Part(tmp_path / "zo1.tar.gz")


def get(
    web: Any, part: Part, patience: Patience = HASTY, url: str | None = None
) -> None:
    web.files.setdefault("/zo1.tar.gz", BODY)
    receive(url or f"{web.url}/zo1.tar.gz", part, web_opener(), patience)


def usual(web: Any, **changes: Any) -> Any:
    return dataclasses.replace(web.usual, **changes)


def test_a_whole_file_takes_its_name_and_leaves_nothing_else(web, part, tmp_path):
    get(web, part)
    get(web, part)  # a complete part needs no server
    part.finish(tmp_path / "zo1.tar.gz")

    assert [path.name for path in tmp_path.iterdir()] == ["zo1.tar.gz"]
    assert (tmp_path / "zo1.tar.gz").read_bytes() == BODY
    assert web.ranges() == [None]


def test_a_broken_connection_is_resumed_where_it_broke(web, part):
    web.answers.extend([usual(web, cut=100_000), usual(web, cut=50_000)])

    get(web, part)

    assert part.data.read_bytes() == BODY
    assert web.ranges() == [None, "bytes=100000-", "bytes=150000-"]
    assert web.gets[1][1]["If-Range"] == '"one"'


def test_what_has_arrived_is_kept_for_the_next_call(web, part):
    web.answers.append(usual(web, cut=123_456))
    web.answers.extend([usual(web, status=503)] * 3)
    with pytest.raises(UserError, match=r"zo1.tar.gz: the server is in trouble \(503"):
        get(web, part)
    assert part.num_bytes == 123_456

    get(web, part)

    assert part.data.read_bytes() == BODY
    assert web.ranges()[-1] == "bytes=123456-"


def test_however_often_it_breaks_the_bytes_are_right(web, tmp_path):
    for seed in range(5):
        chance, part = random.Random(seed), Part(tmp_path / f"{seed}.tar.gz")
        for _ in range(chance.randrange(1, 12)):
            kind = {
                "ranges": chance.random() < 0.8,
                "status": chance.choice([None, None, 500]),
            }
            web.answers.append(usual(web, cut=chance.randrange(60_000), **kind))

        get(web, part, dataclasses.replace(HASTY, max_failures=30))

        assert part.data.read_bytes() == BODY, seed
        web.answers.clear()


def test_a_server_without_ranges_or_a_changed_file_starts_over(web, part, tmp_path):
    web.answers.append(usual(web, cut=100_000))
    web.usual = usual(web, ranges=False)
    get(web, part)
    assert part.data.read_bytes() == BODY
    other = Part(tmp_path / "other.tar.gz")
    web.answers.append(usual(web, cut=100_000, ranges=True))
    web.usual = usual(web, etag='"two"', body=BODY[::-1], last_modified=None)
    get(web, other)
    assert other.data.read_bytes() == BODY[::-1]


@pytest.mark.parametrize(
    "change", [{"etag": '"two"', "body": BODY[::-1]}, {"body": BODY + b"more"}]
)
def test_a_server_that_ignores_if_range_is_found_out(web, part, change):
    web.answers.append(usual(web, cut=100_000))
    web.usual = usual(web, honest_range=False, **change)

    get(web, part)

    assert part.data.read_bytes() == change["body"]
    assert web.ranges() == [None, "bytes=100000-", None]


@pytest.mark.parametrize(
    ("etag", "last_modified", "ranges"),
    [
        ('W/"weak"', "yesterday", [None, "bytes=100000-"]),
        (None, "yesterday", [None, "bytes=100000-"]),
        ('W/"weak"', None, [None, None]),
        (None, None, [None, None]),
    ],
)
def test_only_what_can_be_recognized_again_is_resumed(
    web, part, etag, last_modified, ranges
):
    web.usual = usual(web, etag=etag, last_modified=last_modified)
    web.answers.append(usual(web, cut=100_000))

    get(web, part)

    assert part.data.read_bytes() == BODY
    assert web.ranges() == ranges


def test_a_part_with_a_broken_note_starts_over(web, part):
    for note in (b"", b"{", b"[]", b'{"url": 1}', b'{"size": "x"}'):
        part.data.write_bytes(b"something else")
        part.note.write_bytes(note)
        get(web, part)
        assert part.data.read_bytes() == BODY, note


def test_a_part_from_another_address_starts_over(web, part):
    web.answers.append(usual(web, cut=100_000))
    web.files["/other"] = BODY[::-1]
    with pytest.raises(UserError):
        get(web, part, dataclasses.replace(HASTY, max_failures=1))

    get(web, part, url=f"{web.url}/other")

    assert part.data.read_bytes() == BODY[::-1]


def test_more_announced_than_sent_is_never_whole(web, part):
    web.usual = usual(web, length=str(len(BODY) + 1))
    message = "(announced 300001 bytes|cannot go on where it stopped)"
    with pytest.raises(UserError, match=message):
        get(web, part)
    assert not part.data.with_name("zo1.tar.gz").exists()
    assert len(web.gets) < 10


def test_progress_renews_patience(web, part):
    web.usual = usual(web, cut=20_000)  # 15 connections, though 3 failures are allowed
    get(web, part)
    assert part.data.read_bytes() == BODY


@pytest.mark.parametrize(
    "trouble", [{"cut": 100_000, "ranges": False}, {"cut": 0}, {"status": 503}]
)
def test_a_server_that_never_gets_further_is_given_up(web, part, trouble):
    web.usual = usual(web, **trouble)
    with pytest.raises(UserError, match="given up after 3 tries without progress"):
        get(web, part)
    assert len(web.gets) <= 4


def test_a_file_that_changes_all_the_time_is_given_up(web, part):
    web.answers.extend(usual(web, cut=1000, etag=f'"{i}"') for i in range(50))
    with pytest.raises(UserError, match="given up"):
        get(web, part)


def test_a_final_answer_is_told_at_once(web, part):
    answers = {404: "no such file", 403: "refuses", 418: "HTTP 418"}
    for number, (status, about) in enumerate(answers.items(), start=1):
        web.usual = usual(web, status=status)
        with pytest.raises(UserError, match=about) as told:
            get(web, part)
        assert len(web.gets) == number
        assert "\n" not in str(told.value)


def test_a_refused_range_starts_over(web, part):
    web.answers.extend([usual(web, cut=100_000), usual(web, status=416)])
    get(web, part)
    assert part.data.read_bytes() == BODY
    assert web.ranges() == [None, "bytes=100000-", None]


def test_a_silent_server_is_asked_again(web, part):
    web.answers.append(usual(web, cut=100_000, stall=True))
    get(web, part)
    assert part.data.read_bytes() == BODY
    assert web.ranges() == [None, "bytes=100000-"]


def test_a_dripping_server_is_given_up(web, part):
    web.usual = usual(web, drip=(10, 0.05))
    with pytest.raises(UserError, match=r"sent only \d+ bytes"):
        get(web, part, dataclasses.replace(HASTY, max_failures=2))


def test_without_a_size_nothing_is_taken(web, part):
    for length in (None, "0", "many"):
        web.usual = usual(web, length=length)
        with pytest.raises(UserError, match="does not say how large the file is"):
            get(web, part)


def test_no_server_at_all(part):
    with pytest.raises(UserError, match="no connection"):
        receive("http://127.0.0.1:9/zo1.tar.gz", part, web_opener(), HASTY)


def test_a_full_disk_is_seen_before_anything_is_written(web, part, monkeypatch):
    usage = namedtuple("usage", "total used free")(1, 1, 200_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"needs 300 kB, but .* has only 200 kB free"):
        get(web, part)
    assert part.num_bytes == 0


def test_a_disk_that_fills_up_keeps_what_fits(web, part, monkeypatch):
    def full(file: int, data: bytes) -> int:
        if os.fstat(file).st_size >= 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:50_000])

    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(UserError, match=r"part: cannot be written \(No space"):
            get(web, part)
    assert 100_000 <= part.num_bytes < len(BODY)

    get(web, part)

    assert part.data.read_bytes() == BODY
