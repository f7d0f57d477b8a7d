"""Damaged and misleading images: one line each, naming the file and the remedy."""

import json
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numcodecs.zstd import Zstd

SHAPE = (2, 4, 16, 16)
UM = {f"PhysicalSize{axis}": 0.29 for axis in "ZYX"}
ZSTD = b"\x28\xb5\x2f\xfd"
PLAIN = {"ome": False, "metadata": None}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa">'
    + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 20}">'
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]><OME>&i;</OME>"
)


def pixels(seed: int = 9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4000, SHAPE).astype(np.uint16)


@dataclass(frozen=True)
class Bench:
    """A folder to make images in, with a sound one of every format to start from."""

    folder: Path
    sound: dict[str, Path]

    def copy(self, kind: str) -> Path:
        source = self.sound[kind]
        path = self.folder / f"faulty{''.join(source.suffixes)}"
        if source.is_dir():
            shutil.copytree(source, path)
        else:
            shutil.copy(source, path)
        return path

    def content(self, kind: str) -> bytes:
        return self.sound[kind].read_bytes()

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def blank(self, name: str, num_bytes: int) -> Path:
        path = self.folder / name
        path.touch()
        os.truncate(path, num_bytes)
        return path

    def replace(self, kind: str, old: bytes, new: bytes) -> Path:
        content = self.content(kind)
        assert old in content
        suffix = "".join(self.sound[kind].suffixes)
        return self.write(f"faulty{suffix}", content.replace(old, new))

    def patch(self, kind: str, at: int, values: bytes) -> Path:
        content = bytearray(self.content(kind))
        content[at : at + len(values)] = values
        return self.write(f"faulty{''.join(self.sound[kind].suffixes)}", bytes(content))

    def tiff(self, data: np.ndarray, **options: object) -> Path:
        path = self.folder / "faulty.ome.tif"
        usual = {"metadata": {"axes": "CZYX", **UM}, "ome": True}
        usual["photometric"] = "minisblack"
        tifffile.imwrite(path, data, **(usual | options))
        return path

    def tagged(self, code: int, value: object, kind: str = "ome-tiff") -> Path:
        """Change a tag on every page of a TIFF."""
        path = self.copy(kind)
        with tifffile.TiffFile(path, mode="r+b") as tif:
            for page in tif.pages:
                page.tags[code].overwrite(value)
        return path

    def described(self, text: str) -> Path:
        """Write a TIFF with this description."""
        path = self.folder / "faulty.ome.tif"
        options = {"photometric": "minisblack", "metadata": None}
        tifffile.imwrite(path, pixels()[0], description=text, **options)
        return path

    def ome(self, old: str, new: str) -> Path:
        """Change the OME metadata of a sound TIFF."""
        with tifffile.TiffFile(self.sound["ome-tiff"]) as tif:
            xml = tif.ome_metadata
        assert xml
        assert old in xml
        path = self.folder / "faulty.ome.tif"
        planes = pixels().reshape(-1, *SHAPE[2:])
        options = {"photometric": "minisblack", "metadata": None}
        tifffile.imwrite(
            path, planes, description=xml.replace(old, new).encode(), **options
        )
        return path

    def npy(self, array: np.ndarray) -> Path:
        path = self.folder / "faulty.npy"
        np.save(path, array, allow_pickle=True)
        return path

    def npy_header(self, header: str) -> Path:
        content = header.encode().ljust(117) + b"\n"
        start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content))
        return self.write("faulty.npy", start + content + bytes(2048))

    def sidecar(self, **changes: object) -> Path:
        path = self.copy("npy")
        content = {"axes": "CZYX", "voxel_size_um": [0.29] * 3} | changes
        self.write("faulty.json", json.dumps(content))
        return path

    def zarr(self, file: str, change: Callable[[dict], None]) -> Path:
        """Change a JSON file of a sound OME-Zarr."""
        path = self.copy("zarr")
        content = json.loads((path / file).read_text())
        change(content)
        (path / file).write_text(json.dumps(content))
        return path


def put(*keys: str | int, value: object) -> Callable[[dict], None]:
    """Return what changes one value in nested JSON."""

    def change(content: dict) -> None:
        *above, last = keys
        for key in above:
            content = content[key]
        content[last] = value

    return change


def czi_at(bench: Bench, name: str) -> int:
    """Return where the first segment of a name starts."""
    return bench.content("czi").index(name.encode().ljust(16, b"\0"))


def damaged_zlib(bench: Bench) -> Path:
    with tifffile.TiffFile(bench.sound["deflate"]) as tif:
        at = tif.pages[2].dataoffsets[0]
    return bench.patch("deflate", at + 20, b"\xff" * 40)


def tiff_bomb(bench: Bench, *, declared: bool) -> Path:
    """A page of few bytes that unpacks to 400 MB or more, as it says or not."""
    packed = zlib.compress(bytes(400_000_000 if not declared else 1000), 1)
    path = bench.copy("deflate")
    at = path.stat().st_size
    with path.open("ab") as file:
        file.write(packed)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tags = tif.pages.first.tags
        for code in (256, 257, 278) if declared else ():
            tags[code].overwrite(46_000)
        tags[279].overwrite(len(packed))
        tags[273].overwrite(at)
    return path


def page_loop(bench: Bench) -> Path:
    """Let the first page of a TIFF be followed by itself."""
    content = bench.content("ome-tiff")
    (first,) = struct.unpack_from("<I", content, 4)
    (num_tags,) = struct.unpack_from("<H", content, first)
    return bench.patch("ome-tiff", first + 2 + 12 * num_tags, struct.pack("<I", first))


def time_series(bench: Bench) -> Path:
    data = np.stack([pixels(1), pixels(2), pixels(3)])
    return bench.tiff(data, metadata={"axes": "TCZYX", **UM})


def special_voxels(bench: Bench, value: float) -> Path:
    data = pixels().astype(np.float32)
    data[0, 1, 2, 3] = value
    return bench.tiff(data)


def constant_channel(bench: Bench) -> Path:
    data = pixels()
    data[1] = 7
    return bench.tiff(data)


def fifo(bench: Bench) -> Path:
    os.mkfifo(bench.folder / "faulty.tif")
    return bench.folder / "faulty.tif"


def fifo_chunk(bench: Bench) -> Path:
    path = bench.copy("zarr")
    chunk = next(file for file in path.rglob("c/1/*/0/0"))
    chunk.unlink()
    os.mkfifo(chunk)
    return path


def link(bench: Bench, name: str, target: str) -> Path:
    (bench.folder / name).symlink_to(target)
    return bench.folder / name


def cut_chunk(bench: Bench) -> Path:
    path = bench.copy("zarr")
    chunk = next(path.rglob("c/1/0/0/0"))
    chunk.write_bytes(chunk.read_bytes()[:40])
    return path


def without(bench: Bench, pattern: str) -> Path:
    path = bench.copy("zarr")
    for file in list(path.glob(pattern)):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    return path


def loop_of_folders(bench: Bench) -> Path:
    path = bench.copy("zarr")
    shutil.rmtree(path / "0")
    (path / "0").symlink_to("0")
    return path


def longer_chunk(bench: Bench) -> Path:
    path = bench.copy("zarr")
    chunk = next(path.rglob("c/1/0/0/0"))
    chunk.write_bytes(Zstd().encode(bytes(5000)))
    return path


def czi_with_xml(bench: Bench, xml: str) -> Path:
    content = bench.content("czi")
    start = content.index(b"<ImageDocument")
    size = content.index(b"</ImageDocument>") - start
    return bench.patch("czi", start, xml.encode().ljust(size))


def companion(bench: Bench, file_name: str) -> Path:
    """Write OME metadata that name this file as that of all planes."""
    with tifffile.TiffFile(bench.sound["ome-tiff"]) as tif:
        xml = str(tif.ome_metadata)
    uuid = f'<UUID FileName="{file_name}">urn:uuid:1</UUID>'
    there = f'<TiffData IFD="0" PlaneCount="8">{uuid}</TiffData>'
    text = re.sub("<TiffData.*?/>|<TiffData.*?</TiffData>", there, xml, flags=re.DOTALL)
    return bench.write("faulty.companion.ome", text)


META = "zarr.json"
ARRAY = "0/zarr.json"
MULTISCALES = ("attributes", "ome", "multiscales")
DATASET = (*MULTISCALES, 0, "datasets", 0)

BAD: dict[str, tuple[Callable[[Bench], Path], str]] = {
    # TIFF: not one at all
    "tiff-empty": (lambda b: b.write("faulty.tif", b""), "the file is empty"),
    "tiff-pointer": (lambda b: b.write("faulty.tif", POINTER), "git lfs pull"),
    "tiff-text": (lambda b: b.write("faulty.tif", "task,path\n"),
        "not a readable TIFF"),
    "tiff-is-png": (lambda b: b.write("faulty.tif", PNG), "not a readable TIFF"),
    "tiff-is-czi": (lambda b: b.write("faulty.tif", b.content("czi")),
        "not a readable TIFF"),
    "tiff-head-only": (lambda b: b.write("faulty.tif", b"II*\0"),
        "not a readable TIFF"),
    "tiff-no-page": (lambda b: b.write("faulty.tif", b"II*\0" + bytes(9)), "no image"),
    # TIFF: structure
    "tiff-page-loop": (page_loop, "form a circle"),
    "tiff-page-outside": (lambda b: b.patch("ome-tiff", 4, struct.pack("<I", 2**31)),
        "not a readable TIFF"),
    "tiff-huge-width": (lambda b: b.tagged(256, 2**31 - 1, "imagej"), "damaged"),
    "tiff-zero-width": (lambda b: b.tagged(256, 0, "imagej"), "not a readable TIFF"),
    "tiff-unknown-compression": (lambda b: b.tagged(259, 60_000), "compression"),
    "tiff-other-planes": (lambda b: b.ome('SizeX="16"', 'SizeX="17"'), "describe"),
    "tiff-damaged-deflate": (damaged_zlib, "damaged pixel data on page 2"),
    "tiff-bomb": (lambda b: tiff_bomb(b, declared=True), "promises"),
    "tiff-hidden-bomb": (lambda b: tiff_bomb(b, declared=False), "damaged pixel data"),
    "tiff-imagej-many": (lambda b:
        b.described("ImageJ=1.11a\nimages=2000000000\nslices=2000000000\n"),
        "damaged or incomplete"),
    # TIFF: what it holds
    "tiff-rgb": (lambda b: b.tiff(np.zeros((16, 16, 3), np.uint8), photometric="rgb",
        **PLAIN), "3 color samples per pixel"),
    "tiff-complex": (lambda b: b.tiff(pixels().astype(np.complex64)),
        "save them as integers or floats"),
    "tiff-unknown-axes": (lambda b: b.tiff(pixels(), ome=False, metadata={"axes":
        "QRYX"}), "are not those of one volume"),
    "tiff-time-series": (time_series, "holds 3 of 'time'; choose one: 0 to 2"),
    "tiff-nan": (lambda b: special_voxels(b, np.nan), "1 voxels are NaN"),
    "tiff-infinite": (lambda b: special_voxels(b, -np.inf), "1 voxels are NaN"),
    "tiff-constant": (constant_channel, "every voxel is 7"),
    "tiff-one-channel": (lambda b: b.tiff(pixels()[0], metadata={"axes": "ZYX", **UM}),
        "no channel '1'; choose from 0"),
    # TIFF: OME metadata
    "ome-not-xml": (lambda b: b.described("<OME"), "damaged OME metadata"),
    "ome-cut-off": (lambda b: b.ome("</OME>", ""), "damaged OME metadata"),
    "ome-entity-bomb": (lambda b: b.described(BOMB), "damaged OME metadata"),
    "ome-billion-planes": (lambda b: b.ome('SizeZ="4"', 'SizeZ="1000000000"'),
        "planes; it is damaged"),
    "ome-negative-size": (lambda b: b.ome('SizeZ="4"', 'SizeZ="-4"'), "no whole"),
    "ome-more-planes": (lambda b: b.ome('SizeZ="4"', 'SizeZ="40"'),
        "72 of 80 planes are missing"),
    "ome-file-outside": (lambda b: b.ome("<TiffData",
        '<TiffData><UUID FileName="../../x.tif"/></TiffData><TiffData'),
        "is not in the folder"),
    "ome-absolute-file": (lambda b: b.ome("<TiffData",
        '<TiffData><UUID FileName="/etc/passwd"/></TiffData><TiffData'),
        "is not in the folder"),
    "ome-order": (lambda b: b.ome("XYZCT", "XYZZZ"), "DimensionOrder"),
    "companion-of-nothing": (lambda b: companion(b, "gone.tif"),
        "files are missing from its folder: gone.tif"),
    "companion-outside": (lambda b: companion(b, "../../gone.tif"),
        "is not in the folder"),
    "companion-huge": (lambda b: b.blank("faulty.companion.ome", 1 << 30),
        "1074 MB are too many"),
    # voxel sizes of files
    "voxel-size-unknown": (lambda b: b.tiff(pixels(), metadata={"axes": "CZYX"}),
        "has no voxel size along z in its metadata; fill"),
    "voxel-size-zero": (lambda b: b.ome('Z="0.29"', 'Z="0"'), "has no voxel size"),
    "voxel-size-nan": (lambda b: b.ome('Z="0.29"', 'Z="NaN"'), "has no voxel size"),
    "voxel-size-tiny": (lambda b: b.ome('Z="0.29"', 'Z="1e-30"'), "voxel_size_z_um"),
    "voxel-size-huge": (lambda b: b.ome('Z="0.29"', 'Z="1e30"'), "voxel_size_z_um"),
    "voxel-size-large": (lambda b: b.tiff(pixels(), metadata={"axes": "CZYX",
        **dict.fromkeys(UM, 900)}), "GB; see that voxel_size_z_um"),
    # CZI
    "czi-empty": (lambda b: b.write("faulty.czi", b""), "the file is empty"),
    "czi-pointer": (lambda b: b.write("faulty.czi", POINTER), "git lfs pull"),
    "czi-is-tiff": (lambda b: b.write("faulty.czi", b.content("ome-tiff")),
        "not a CZI file"),
    "czi-name-only": (lambda b: b.write("faulty.czi", "ZISRAWFILE"), "incomplete"),
    "czi-no-directory": (lambda b: b.patch("czi", 32 + 52, bytes(8)),
        "the recording did not finish"),
    "czi-directory-outside": (lambda b: b.patch("czi", 32 + 52, struct.pack("<q",
        2**62)), "incomplete"),
    "czi-negative-directory": (lambda b: b.patch("czi", 32 + 52, struct.pack("<q", -5)),
        "incomplete"),
    "czi-many-entries": (lambda b: b.patch("czi", czi_at(b, "ZISRAWDIRECTORY") + 32,
        struct.pack("<i", 2**31 - 1)), "a directory of 2147483647 entries"),
    "czi-huge-segment": (lambda b: b.patch("czi", czi_at(b, "ZISRAWMETADATA") + 16,
        struct.pack("<qq", 2**62, 2**62)), "declares 4611686018427387904 bytes"),
    "czi-no-xml": (lambda b: b.replace("czi", b"<ImageDoc", b"<<mageDoc"), "no XML"),
    "czi-entity-bomb": (lambda b: czi_with_xml(b, BOMB), "no XML"),
    "czi-two-scenes": (lambda b: b.copy("scenes"), "holds 2 of 'scene'; choose one"),
    "czi-huge-plane": (lambda b: b.replace("czi", struct.pack("<4siifi", b"X", 0, 16, 0,
        16), struct.pack("<4siifi", b"X", 0, 2**31 - 1, 0, 2**31 - 1)), "promises"),
    "czi-damaged-zstd": (lambda b: b.patch("zstd", b.content("zstd").index(ZSTD) + 8,
        b"\xff" * 200), "incomplete CZI file (pixels of channel 0, plane 0"),
    # NumPy
    "npy-empty": (lambda b: b.write("faulty.npy", b""), "the file is empty"),
    "npy-magic": (lambda b: b.write("faulty.npy", PNG), "not a readable NumPy file"),
    "npy-pickle": (lambda b: b.npy(np.array([[[print]]], object)),
        "pixels of type object"),
    "npy-records": (lambda b: b.npy(np.zeros((2, 4, 4), [("a", "u1")])),
        "pixels of type"),
    "npy-text": (lambda b: b.npy(np.full((2, 4, 4), "a")), "pixels of type <U1"),
    "npy-huge": (
        lambda b: b.npy_header(
            "{'descr': '<u2', 'fortran_order': False, 'shape': (1000000, 999999, 9)}"
        ),
        "but the file has",
    ),
    "npy-negative": (
        lambda b: b.npy_header(
            "{'descr': '<u2', 'fortran_order': False, 'shape': (-4, 16, -16)}"
        ),
        "is not an image",
    ),
    "npy-code": (lambda b: b.npy_header("__import__('os').abort()"), "not a readable"),
    "npy-header-length": (lambda b: b.write("faulty.npy",
        b"\x93NUMPY\x02\x00" + b"\xff" * 4 + bytes(99)), "its header is incomplete"),
    "npy-scalar": (lambda b: b.npy(np.float32(1.0)), "is not an image"),
    "npy-no-sidecar": (lambda b: b.copy("npy"), 'with {"axes": "CZYX"'),
    "sidecar-no-json": (lambda b: (b.write("faulty.json", "{"), b.copy("npy"))[1],
        "damaged JSON"),
    "sidecar-nested": (lambda b: (b.write("faulty.json", "[" * 100_000),
        b.copy("npy"))[1], "damaged JSON"),
    "sidecar-pointer": (lambda b: (b.write("faulty.json", POINTER), b.copy("npy"))[1],
        "git lfs pull"),
    "sidecar-huge": (lambda b: (b.blank("faulty.json", 300_000_000), b.copy("npy"))[1],
        "300 MB are too many"),
    "sidecar-axes": (lambda b: b.sidecar(axes="CXYZ"), "axes='CXYZ'; use one of"),
    "sidecar-too-few-axes": (lambda b: b.sidecar(axes="ZYX"), "of 4 axes"),
    "sidecar-names": (lambda b: b.sidecar(channel_names=["a", "b", "c"]),
        "3 names for 2 channels"),
    "sidecar-nan": (lambda b: b.sidecar(voxel_size_um=[float("nan"), 1, 1]),
        "use three positive numbers"),
    "sidecar-typo": (lambda b: b.sidecar(voxelsize=1), "unknown field 'voxelsize'"),
    # OME-Zarr
    "zarr-empty-folder": (lambda b: ((b.folder / "faulty.zarr").mkdir(),
        b.folder / "faulty.zarr")[1], "a folder without Zarr metadata"),
    "zarr-no-json": (lambda b: (p := b.copy("zarr"), (p / META).write_text("{,}"))[0],
        "damaged JSON"),
    "zarr-a-list": (lambda b: (p := b.copy("zarr"), (p / META).write_text("[1]"))[0],
        "no JSON object"),
    "zarr-pointer": (lambda b: (p := b.copy("zarr"),
        (p / ARRAY).write_bytes(POINTER))[0], "git lfs pull"),
    "zarr-no-multiscales": (lambda b: b.zarr(META, put("attributes", value={})),
        "no OME-Zarr image"),
    "zarr-empty-multiscales": (lambda b: b.zarr(META, put(*MULTISCALES, value=[])),
        "'multiscales' is empty"),
    "zarr-old-axes": (lambda b: b.zarr(META, put(*MULTISCALES, 0, "axes",
        value=["c", "z", "y"])), "older format"),
    "zarr-wrong-axes": (lambda b: b.zarr(META, put(*MULTISCALES, 0, "axes", 0,
        value={"name": "q", "type": "space"})), "are not those of volumes"),
    "zarr-path-outside": (lambda b: b.zarr(META, put(*DATASET, "path",
        value="../../etc")), "name no folder in it"),
    "zarr-scale": (lambda b: b.zarr(META, put(*DATASET, "coordinateTransformations", 0,
        "scale", value=["a", 1])), "no list of numbers"),
    "zarr-scale-nan": (lambda b: b.zarr(META, put(*DATASET,
        *("coordinateTransformations", 0, "scale"), value=[1, float("nan"), 1, 1])),
        "has no voxel size along z in its metadata"),
    "zarr-no-array": (lambda b: without(b, "0"), "the copy is incomplete"),
    "zarr-no-chunks": (lambda b: without(b, "0/c"), "none of the 2 chunk files"),
    "zarr-cut-chunk": (cut_chunk, "damaged pixel data"),
    "zarr-longer-chunk": (longer_chunk, "damaged pixel data"),
    "zarr-fifo-chunk": (fifo_chunk, "is not a file"),
    "zarr-folder-loop": (loop_of_folders, "the copy is incomplete"),
    "zarr-huge-shape": (lambda b: b.zarr(ARRAY, put("shape",
        value=[2, 1000, 10**6, 10**6])), "promises an image"),
    "zarr-zero-shape": (lambda b: b.zarr(ARRAY, put("shape", value=[2, 0, 16, 16])),
        "lengths start at 1"),
    "zarr-huge-chunk": (lambda b: b.zarr(ARRAY, put("chunk_grid", "configuration",
        "chunk_shape", value=[1, 2, 2**20, 2**20])), "promises an image"),
    "zarr-strings": (lambda b: b.zarr(ARRAY, put("data_type", value="string")),
        "pixels of type 'string'"),
    "zarr-unknown-codec": (lambda b: b.zarr(ARRAY, put("codecs",
        value=[{"name": "nonsense"}])), "damaged array metadata"),
    # not an image file
    "path-missing": (lambda b: b.folder / "faulty.tif", "no such file"),
    "path-folder": (lambda b: ((b.folder / "faulty.tif").mkdir(),
        b.folder / "faulty.tif")[1], "a folder without Zarr metadata"),
    "path-fifo": (fifo, "neither a file nor a folder"),
    "path-device": (lambda b: link(b, "faulty.tif", "/dev/zero"), "neither a file"),
    "path-link-loop": (lambda b: link(b, "faulty.tif", "faulty.tif"), "no such file"),
    "path-dangling-link": (lambda b: link(b, "faulty.tif", "gone.tif"), "no such file"),
    "path-other-kind": (lambda b: b.write("faulty.jpg", PNG), "cannot read .jpg"),
    "path-no-suffix": (lambda b: b.write("faulty", PNG), "files without a suffix"),
}  # fmt: skip


@pytest.fixture
def bench(tmp_path, sound) -> Bench:
    return Bench(tmp_path, sound)


@pytest.fixture
def listed(tmp_path, sound_rows, as_csv) -> Callable[..., None]:
    """List an image in a manifest with sound ones."""

    def write(path: Path, **cells: str) -> None:
        row = {**sound_rows[0], "path": path.name, **cells}
        (tmp_path / "manifest.csv").write_text(as_csv([row, *sound_rows]))

    return write


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_one_error_of_one_line(name, bench, listed, check):
    make, says = BAD[name]
    path = make(bench)
    listed(path)

    checked = check()

    assert checked.status == 2
    assert len(checked.errors) == 1, checked.errors
    assert "row 2" in checked.errors[0]
    assert "faulty" in checked.errors[0] or name == "path-device"
    assert says in checked.errors[0]


def test_the_images_that_were_damaged_are_sound(bench, listed, check):
    for kind in ("ome-tiff", "deflate", "imagej", "czi", "zstd", "npy", "zarr"):
        path = bench.copy(kind)
        if kind == "npy":
            bench.sidecar()
        listed(path)
        assert check().errors == []
