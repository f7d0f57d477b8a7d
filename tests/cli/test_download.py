"""The download command against a server on this machine, killed and interrupted too."""

import io
import random
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile

from continual_repmode.__main__ import main
from continual_repmode.manifests.manifest import ManifestCollection

CHANNELS = ("Bright_1", "CMDRP", "", "EGFP", "", "H3342", "Bright_2")


@dataclass
class Mirror:
    """Archives by name; whether they are sent slowly, and what was asked for."""

    url: str
    archives: dict[str, bytes] = field(default_factory=dict)
    slow: bool = False
    break_next_at: int | None = None
    gets: list[str | None] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    mirror: Mirror

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: killed clients are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._begin()

    def do_GET(self) -> None:
        mirror = self.server.mirror
        mirror.gets.append(self.headers.get("Range"))
        body = self._begin()[: mirror.break_next_at]
        mirror.break_next_at = None
        for at in range(0, len(body), 50_000):
            self.wfile.write(body[at : at + 50_000])
            time.sleep(0.05 * mirror.slow)

    def _begin(self) -> bytes:
        body = self.server.mirror.archives.get(Path(self.path).name)
        if body is None:
            self.send_error(404)
            return b""
        total = len(body)
        wanted = self.headers.get("Range")
        start = int(wanted[6:-1]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(total - start))
        self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("ETag", '"one"')
        self.end_headers()
        return body[start:]


@pytest.fixture
def mirror():
    server = _Server(("127.0.0.1", 0), _Handler)
    server.mirror = Mirror(f"http://127.0.0.1:{server.server_address[1]}/sets")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.mirror
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def pack(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def noise(num_images: int, size: int) -> dict[str, bytes]:
    chance = random.Random(0)
    return {f"zo1/{i}.czi": chance.randbytes(size) for i in range(num_images)}


def put_images(mirror: Mirror, dataset: str, number: int, folder: Path) -> None:
    """Serve an archive of small images of both kinds of file."""
    rng = np.random.default_rng(len(dataset))
    contents = {}
    for index in range(number):
        path = folder / "one.ome.tif"
        tifffile.imwrite(
            path, rng.integers(0, 4000, (7, 2, 5, 6)).astype(np.uint16), ome=True,
            photometric="minisblack",
            metadata={
                "axes": "CZYX", "Channel": {"Name": list(CHANNELS)},
                "PhysicalSizeZ": 0.29, "PhysicalSizeY": 0.108, "PhysicalSizeX": 0.108,
            },
        )  # fmt: skip
        contents[f"{dataset}/{dataset}_{index:02d}.ome.tif"] = path.read_bytes()
        path.unlink()
    mirror.archives[f"{dataset}.tar.gz"] = pack(contents)


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder.parent).as_posix(): path.read_bytes()
        for path in folder.rglob("*.czi")
    }


def test_from_archives_to_a_manifest_over_a_broken_connection(
    mirror, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    put_images(mirror, "tom20", 8, tmp_path)
    put_images(mirror, "fibrillarin", 12, tmp_path)
    mirror.break_next_at = 10_000
    words = ["download", "mitochondria", "nucleolus", "--mirror", mirror.url]

    assert main([*words, "--delete-archives"]) == 0

    assert mirror.gets == [None, "bytes=10000-", None]
    out = capsys.readouterr().out
    size = len(mirror.archives["tom20.tar.gz"]) / 1000
    assert f"  tom20              download {size:.3g} kB and unpack" in out
    assert "allen: needs about " in out
    assert "tom20: complete, 8 images" in out
    assert "mitochondria                5      1      2" in out
    assert "note: tom20: 8 images, the paper used 80" in out
    assert f"check {Path('allen/manifest.csv')}" in out
    assert sorted(p.name for p in Path("allen").iterdir() if p.name[0] != ".") == [
        "checksums.json", "fibrillarin", "manifest.csv", "tom20",
    ]  # fmt: skip
    collection = ManifestCollection("allen/manifest.csv")
    assert collection.tasks == ("dna", "mitochondria", "nucleolus")

    mirror.gets.clear()
    assert main([*words, "--delete-archives"]) == 0
    assert mirror.gets == []

    assert main(["download", "--list", "--to", "allen"]) == 0
    listed = capsys.readouterr().out
    assert "mitochondria           tom20                  80  complete" in listed
    assert "tight_junction         zo1                    80  -" in listed
    assert "1 of these nine are here" in listed


def test_dna_alone_needs_nine_data_sets(mirror, tmp_path, capsys):
    put_images(mirror, "alpha_tubulin", 4, tmp_path)
    status = main(["download", "dna", "--mirror", mirror.url, "--to", str(tmp_path)])
    assert status == 2
    assert "beta_actin.tar.gz: the server has no such file" in capsys.readouterr().err
    assert mirror.gets == []
    assert main(["download", "--help"]) == 0
    assert "dna alone needs all nine" in capsys.readouterr().out


def test_killed_while_downloading_it_goes_on(mirror, tmp_path, spawn, command):
    files = noise(4, 500_000)
    mirror.archives["zo1.tar.gz"] = pack(files)
    mirror.slow = True
    words = ["download", "zo1", "--mirror", mirror.url, "--no-manifest"]
    part = tmp_path / "allen" / "zo1.tar.gz.part"

    process = spawn(*words, cwd=tmp_path)
    wait_for(lambda: part.exists() and part.stat().st_size > 200_000, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    arrived = part.stat().st_size
    mirror.slow = False
    done = command(*words, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert mirror.gets == [None, f"bytes={arrived}-"]
    assert "download the rest" in done.stdout
    assert contents(tmp_path / "allen" / "zo1") == files


def test_killed_while_unpacking_it_starts_again(mirror, tmp_path, spawn, command):
    files = noise(40, 2_000_000)
    mirror.archives["zo1.tar.gz"] = pack(files)
    words = ["download", "zo1", "--mirror", mirror.url, "--no-manifest"]
    folder = tmp_path / "allen"

    process = spawn(*words, cwd=tmp_path)
    wait_for((folder / ".zo1.unpacking/zo1/0.czi").exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (folder / ".zo1.unpacking").exists()
    assert not (folder / "zo1").exists()
    done = command(*words, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert mirror.gets == [None]
    assert contents(folder / "zo1") == files
    assert not (folder / ".zo1.unpacking").exists()


def test_interrupted_it_says_how_to_go_on(mirror, tmp_path, spawn):
    mirror.archives["zo1.tar.gz"] = pack(noise(4, 3_000_000))
    mirror.slow = True
    part = tmp_path / "my data" / "zo1.tar.gz.part"
    process = spawn(
        "download", "zo1", "--mirror", mirror.url, "--to", "my data", cwd=tmp_path
    )
    wait_for(lambda: part.exists() and part.stat().st_size > 0, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 75, err
    assert (
        f"go on with: continual-repmode download zo1 --mirror {mirror.url} "
        "--to 'my data'"
    ) in err
    assert "Traceback" not in err
    assert part.exists()


def test_a_mistake_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nowhere = ["--mirror", "http://127.0.0.1:1/"]
    for words, message in (
        (["mitochondrion"], "choose from the tasks actin_filament,"),
        (["--mirror", "ftp://host/sets"], "--mirror 'ftp://host/sets': must begin"),
        (["--proxy", "host"], "--proxy 'host'"),
        (
            ["zo1", *nowhere, "--published-lists", "nodir"],
            "nodir/zo1.csv: no such list; --published-lists takes the folder",
        ),
        (["--voxel-size", "0.29"], "invalid choice: '0.29'"),
        (["--keep-archives", "--delete-archives"], "not allowed with"),
    ):
        assert main(["download", *words]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ")
        assert message in line
    assert not any(path.suffix for path in tmp_path.rglob("*.part"))


def test_a_disk_too_small_is_told_with_numbers(mirror, tmp_path, capsys, monkeypatch):
    mirror.archives["zo1.tar.gz"] = pack(noise(1, 1_000_000))
    usage = namedtuple("usage", "total used free")(1, 1, 2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    words = ["download", "zo1", "--mirror", mirror.url, "--to", str(tmp_path)]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "downloading and unpacking needs 3" in told
    assert "2 MB free" in told
    assert mirror.gets == []
