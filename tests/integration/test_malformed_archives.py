"""Archives with tricks in them, downloaded: one line each, and nothing is unpacked."""

import gzip
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Iterator[tuple[Path, str]]:
    """Serve a folder; give it and its address."""
    folder = tmp_path_factory.mktemp("mirror")
    handler = partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(5)


def tar(*members: tuple[tarfile.TarInfo, bytes] | tarfile.TarInfo) -> bytes:
    """Return a tar of a sound image and these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        sound = (member("zo1/sound.czi"), bytes(range(256)) * 40)
        for entry in (sound, *members):
            info, content = entry if isinstance(entry, tuple) else (entry, b"")
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content) if content else None)
    return buffer.getvalue()


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def packed(*members: tuple[tarfile.TarInfo, bytes] | tarfile.TarInfo) -> bytes:
    return gzip.compress(tar(*members), 1)


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def as_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("zo1/a.czi", b"a")
    return buffer.getvalue()


SOUND = packed()
EVIL = b"evil"
OUTSIDE = "leads outside"
LINK = "neither a plain file nor a folder"

BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "absolute": (lambda: packed((member("/tmp/evil"), EVIL)), OUTSIDE),
    "upwards": (lambda: packed((member("../evil"), EVIL)), OUTSIDE),
    "upwards-inside": (lambda: packed((member("zo1/../../evil"), EVIL)), OUTSIDE),
    "backslashes": (lambda: packed((member("..\\evil"), EVIL)), OUTSIDE),
    "link": (lambda: packed(member("zo1/a", tarfile.SYMTYPE, "/etc")), LINK),
    "link-then-file": (
        lambda: packed(
            member("zo1/a", tarfile.SYMTYPE, ".."), (member("zo1/a/evil"), EVIL)
        ),
        LINK,
    ),
    "hard-link": (lambda: packed(member("a", tarfile.LNKTYPE, "/etc/passwd")), LINK),
    "pipe": (lambda: packed(member("zo1/a.czi", tarfile.FIFOTYPE)), LINK),
    "device": (lambda: packed(member("zo1/a.czi", tarfile.CHRTYPE)), LINK),
    "same-name": (lambda: packed((member("zo1/sound.czi"), EVIL)), "is taken"),
    "other-case": (lambda: packed((member("ZO1/Sound.czi"), EVIL)), "is taken"),
    "line-break": (lambda: packed((member("zo1/a\nerror: b"), EVIL)), "no file name"),
    "escape-code": (lambda: packed((member("zo1/\x1b[31m"), EVIL)), "no file name"),
    "record": (lambda: packed((member("zo1/contents.json"), b"{}")), "name that is"),
    "bomb": (
        lambda: packed((member("zo1/a.czi"), bytes(300_000_000))),
        "no archive of this size",
    ),
    "promised-size": (
        lambda: packed(member("zo1/a.czi", size=8 << 30)),
        "no archive of this size",
    ),
    "many-files": (
        lambda: packed(*(member(f"zo1/{k}.czi") for k in range(10_050))),
        "no archive of this size",
    ),
    "deep": (lambda: packed((member("a/" * 90 + "a"), EVIL)), "no file name"),
    "huge-header": (
        lambda: gzip.compress(
            member("a", b"L", size=2**31).tobuf() + bytes(1024) + tar()
        ),
        "damaged",
    ),
    "empty": (lambda: b"", "zo1.tar.gz"),
    "html": (lambda: b"<html>404 Not Found</html>", "damaged"),
    "zip": (as_zip, "damaged"),
    "tar-unpacked": (tar, "damaged"),
    "twice-packed": (lambda: gzip.compress(SOUND), "damaged"),
    "nothing-inside": (lambda: gzip.compress(bytes(10_240)), "holds no files"),
    "no-end": (lambda: gzip.compress(tar()[: 512 * 21]), "damaged"),
    "checksum": (lambda: flipped(SOUND, len(SOUND) - 6), "damaged"),
    "changed-byte": (lambda: flipped(SOUND, len(SOUND) // 2), "damaged"),
    "garbage-behind": (lambda: SOUND + b"garbage", "damaged"),
    **{
        f"cut-at-{percent}%": (
            lambda percent=percent: SOUND[: len(SOUND) * percent // 100],
            "damaged",
        )
        for percent in (1, 10, 50, 90, 99)
    },
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_archive_is_one_error_and_nothing_else(name, mirror, worker, tmp_path):
    make, says = BAD[name]
    folder, address = mirror
    (folder / "zo1.tar.gz").write_bytes(make())
    into = tmp_path / "allen"

    words = ("tight_junction", "--to", str(into), "--mirror", address)
    done = worker("download", *words, folder=tmp_path)

    assert done.status == 2
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert line.isprintable()
    assert len(line) < 1000
    assert "zo1.tar.gz" in line
    assert says in line
    assert {path.name for path in tmp_path.iterdir()} == {"allen"}
    assert not [path for path in into.rglob("*") if path.is_dir()]
    assert not Path("/tmp/evil").exists()


def test_the_archive_that_was_damaged_is_sound(mirror, worker, tmp_path):
    folder, address = mirror
    (folder / "zo1.tar.gz").write_bytes(SOUND)

    words = ("tight_junction", "--to", "allen", "--mirror", address, "--no-manifest")
    done = worker("download", *words, folder=tmp_path)

    assert done.status == 0, done.err
    assert (tmp_path / "allen/zo1/sound.czi").stat().st_size == 256 * 40
