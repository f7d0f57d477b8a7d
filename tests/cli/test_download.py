"""The download command against a server on this machine, killed and interrupted too."""

import random
import shutil
import signal
import time
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from continual_repmode.__main__ import main
from continual_repmode.manifests.manifest import ManifestCollection
from tests.forked import Call


@pytest.fixture
def mirror(web, pack, write_field, tmp_path):
    return Mirror(web, pack, write_field, tmp_path)


class Mirror:
    """Archives of data sets on a server, which may be slow or break off."""

    def __init__(self, web, pack, write_field, folder):
        self.web, self.url = web, f"{web.url}/sets"
        self._pack, self._write_field, self._folder = pack, write_field, folder

    def put(self, dataset, contents):
        """Serve an archive; return its size."""
        archive = self._pack(contents)
        self.web.files[f"/sets/{dataset}.tar.gz"] = archive
        return len(archive)

    def put_images(self, dataset, number):
        """Serve an archive of equal images, and return its size."""
        path = self._write_field(self._folder / "one.ome.tif")
        image = path.read_bytes()
        path.unlink()
        names = [f"{dataset}/{dataset}_{i:02d}.ome.tif" for i in range(number)]
        return self.put(dataset, dict.fromkeys(names, image))

    def be_slow(self, slow=True):
        drip = (50_000, 0.05) if slow else None
        self.web.usual = replace(self.web.usual, drip=drip)


def noise(num_images: int, size: int) -> dict[str, bytes]:
    chance = random.Random(0)
    return {f"zo1/{i}.czi": chance.randbytes(size) for i in range(num_images)}


def wait_for(condition: Callable[[], bool], process: Call) -> None:
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
    size = mirror.put_images("tom20", 8) / 1000
    mirror.put_images("fibrillarin", 12)
    mirror.web.answers.append(replace(mirror.web.usual, cut=1000))
    words = ["download", "mitochondria", "nucleolus", "--mirror", mirror.url]

    assert main([*words, "--delete-archives"]) == 0

    assert mirror.web.ranges() == [None, "bytes=1000-", None]
    out = capsys.readouterr().out
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

    mirror.web.gets.clear()
    assert main([*words, "--delete-archives"]) == 0
    assert mirror.web.gets == []

    assert main(["download", "--list", "--to", "allen"]) == 0
    listed = capsys.readouterr().out
    assert "mitochondria           tom20                  80  complete" in listed
    assert "tight_junction         zo1                    80  -" in listed
    assert "1 of these nine are here" in listed


def test_a_bad_archive_is_one_error_and_nothing_else(mirror, tmp_path, capsys):
    into = tmp_path / "allen"
    words = ["download", "zo1", "--mirror", mirror.url, "--to", str(into)]
    for name, says in (
        ("zo1/../../evil", "leads outside"),
        ("zo1/\x1b[31m", "no file"),
    ):
        mirror.put("zo1", {name: b"evil"})
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert line.isprintable()
        assert says in line
        assert not [path for path in into.rglob("*") if path.is_dir()]
        for path in into.iterdir():
            path.unlink()


def test_dna_alone_needs_nine_data_sets(mirror, tmp_path, capsys):
    mirror.put_images("alpha_tubulin", 4)
    status = main(["download", "dna", "--mirror", mirror.url, "--to", str(tmp_path)])
    assert status == 2
    assert "beta_actin.tar.gz: the server has no such file" in capsys.readouterr().err
    assert mirror.web.gets == []
    assert main(["download", "--help"]) == 0
    assert "dna alone needs all nine" in capsys.readouterr().out


def test_killed_while_downloading_it_goes_on(mirror, tmp_path, spawn, command):
    files = noise(4, 500_000)
    mirror.put("zo1", files)
    mirror.be_slow()
    words = ["download", "zo1", "--mirror", mirror.url, "--no-manifest"]
    part = tmp_path / "allen" / "zo1.tar.gz.part"

    process = spawn(*words, cwd=tmp_path)
    wait_for(lambda: part.exists() and part.stat().st_size > 200_000, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    arrived = part.stat().st_size
    mirror.be_slow(False)
    done = command(*words, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert mirror.web.ranges() == [None, f"bytes={arrived}-"]
    assert "download the rest" in done.stdout
    assert contents(tmp_path / "allen" / "zo1") == files


def test_killed_while_unpacking_it_starts_again(mirror, tmp_path, spawn, command):
    files = noise(40, 2_000_000)
    mirror.put("zo1", files)
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
    assert mirror.web.ranges() == [None]
    assert contents(folder / "zo1") == files
    assert not (folder / ".zo1.unpacking").exists()


def test_interrupted_it_says_how_to_go_on(mirror, tmp_path, spawn):
    mirror.put("zo1", noise(4, 3_000_000))
    mirror.be_slow()
    part = tmp_path / "my data" / "zo1.tar.gz.part"
    process = spawn(
        "download", "zo1", "--mirror", mirror.url, "--to", "my data", cwd=tmp_path
    )
    wait_for(lambda: part.exists() and part.stat().st_size > 0, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 75, err
    assert (
        f"resume with: continual-repmode download zo1 --mirror {mirror.url} "
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
    mirror.put("zo1", noise(1, 1_000_000))
    usage = namedtuple("usage", "total used free")(1, 1, 2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    words = ["download", "zo1", "--mirror", mirror.url, "--to", str(tmp_path)]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "downloading and unpacking needs 3" in told
    assert "2 MB free" in told
    assert mirror.web.gets == []
