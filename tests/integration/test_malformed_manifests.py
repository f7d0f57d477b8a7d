"""Manifests as they leave spreadsheets and scripts: one line per fault, or no fault."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

UM = {f"PhysicalSize{axis}": 0.29 for axis in "ZYX"}
OK = (
    b"dna,one.ome.tif,0,1,train\n"
    b"dna,two.ome.tif,0,1,valid\n"
    b"dna,three.ome.tif,0,1,test\n"
)
HEADER = b"task,path,channel_signal,channel_target,split\n"
NEWLINE = "\n"
FILES = ("one", "two", "three")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a folder with three sound images."""
    rng = np.random.default_rng(1)
    for name in FILES:
        tifffile.imwrite(
            tmp_path / f"{name}.ome.tif",
            rng.integers(0, 4000, (2, 4, 16, 16)).astype(np.uint16),
            ome=True,
            photometric="minisblack",
            metadata={"axes": "CZYX", "Channel": {"Name": ["Bright", "EGFP"]}, **UM},
        )
    return tmp_path


def with_cell(column: str, value: str) -> str:
    """Return a manifest whose row 2 has a value in a column, which may be new."""
    names, row, *others = [line.split(",") for line in (HEADER + OK).decode().split()]
    cells = dict(zip(names, row, strict=True)) | {column: value}
    names = list(cells)
    table = [list(cells.values()), row, *others]
    return "\n".join(",".join(f'"{cell}"' for cell in row) for row in [names, *table])


def rows(*lines: str) -> bytes:
    return HEADER + "\n".join(lines).encode() + b"\n" + OK


CELLS: dict[str, tuple[str, str, str]] = {
    "task-slash": ("task", "dna/rna", "use letters, digits"),
    "task-dots": ("task", "../dna", "use letters, digits"),
    "task-empty": ("task", "", "column 'task'"),
    "task-newline": ("task", "dna\nrna", "use letters, digits"),
    "task-formula": ("task", "=1+1", "use letters, digits"),
    "path-empty": ("path", "", "column 'path': ''"),
    "path-missing": ("path", "four.tif", "no such file; paths are relative to"),
    "path-zero-byte": ("path", "one\0.ome.tif", "it has zero bytes"),
    "path-too-long": ("path", "a" * 5000, "no such file"),
    "path-huge": ("path", "a" * 100_000, "no such file"),
    "path-newline": ("path", "one\n.ome.tif", "no such file"),
    "path-url": ("path", "https://example.org/a.tif", "no such file"),
    "path-windows": ("path", "C:\\images\\one.ome.tif", "no such file"),
    "path-is-manifest": ("path", "manifest.csv", "cannot read .csv"),
    "path-is-folder": ("path", ".", "a folder without Zarr metadata"),
    "path-upwards": ("path", "../../../../../../../../etc/passwd", "files without a"),
    "path-device": ("path", "/dev/zero", "neither a file nor a folder"),
    "channel-negative": ("channel_signal", "-1", "no channel '-1'; choose from 0"),
    "channel-99": ("channel_target", "99", "no channel '99'; choose from 0 'Bright'"),
    "channel-float": ("channel_target", "1.5", "no channel '1.5'"),
    "channel-digits": ("channel_target", "9" * 5000, "no channel"),
    "channel-unknown": ("channel_target", "DAPI", "no channel 'DAPI'"),
    "channel-blank": ("channel_target", "", "column 'channel_target'"),
    "channel-same": ("channel_target", "0", "the same channel of the same file"),
    "split-typo": ("split", "tran", "use train, valid or test"),
    "split-blank": ("split", "", "fill it in every row or in none"),
    "scene-nonsense": ("scene", "all", "no scene 'all'; choose from 0"),
    "time-nonsense": ("time", "noon", "no time 'noon'; choose from 0"),
    "time-negative": ("time", "-1", "no time '-1'"),
    "time-digits": ("time", "9" * 5000, "no time"),
    "time-superscript": ("time", "²", "no time '²'"),
    "tile-nonsense": ("tile", "7", "no tile '7'"),
    "voxel-size-zero": ("voxel_size_y_um", "0", "use micrometres"),
    "voxel-size-negative": ("voxel_size_y_um", "-0.1", "use micrometres"),
    "voxel-size-comma": ("voxel_size_x_um", "1,290", "is 1.290 or 1290 meant"),
    "voxel-size-unit": ("voxel_size_x_um", "0.29 µm", "use micrometres"),
    "voxel-size-infinite": ("voxel_size_x_um", "1e400", "use micrometres"),
    "voxel-size-tiny": ("voxel_size_z_um", "1e-30", "voxel_size_z_um"),
    "voxel-size-huge": ("voxel_size_z_um", "1e30", "voxel_size_z_um"),
    "voxel-size-in-m": ("voxel_size_z_um", "2.9e-7", "voxel_size_z_um"),
    "crop-outside": ("z1", "5", "<= 4, the size of"),
    "crop-huge": ("x1", "9999999999", "<= 16, the size of"),
    "crop-digits": ("x1", "9" * 5000, "column 'x1'"),
    "crop-empty": ("y0", "16", "<= 16, the size of"),
    "crop-negative": ("y0", "-2", "use a whole number from 0"),
    "crop-float": ("z0", "1.5", "use a whole number from 0"),
    "crop-nonsense": ("z0", "middle", "use a whole number from 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_a_bad_cell_is_one_error_that_names_the_row(name, folder, check):
    column, value, says = CELLS[name]
    (folder / "manifest.csv").write_text(with_cell(column, value))

    checked = check()

    assert len(checked.errors) == 1, checked.errors
    row = f"row {2 + value.count(NEWLINE)}" if "zero-byte" not in name else ""
    assert row in checked.errors[0]
    assert says in checked.errors[0]


WHOLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "blank-lines": (b"\n\n,,,,\n", "the manifest is empty"),
    "bom-only": (b"\xef\xbb\xbf", "the manifest is empty"),
    "header-only": (HEADER, "has no rows below its header"),
    "utf-16-no-bom": ((HEADER + OK).decode().encode("utf-16-le"),
        "save it as UTF-8 text"),
    "latin-1": (HEADER + "dna,zellgröße.tif,0,1,train\n".encode("latin-1"), "UTF-8"),
    "no-header": (OK, "has no column 'task'"),
    "no-task": ((HEADER + OK).replace(b"task", b"structure"), "has no column 'task'"),
    "two-of-a-name": (
        HEADER.replace(b"split", b"task") + OK,
        "column 'task' appears twice",
    ),
    "both-kinds-of-path": (
        HEADER.replace(b"split", b"path_target") + OK,
        "has no column 'path_signal'",
    ),
    "signal-without-target": (
        HEADER.replace(b"path", b"path_signal") + OK,
        "has no column 'path_target'",
    ),
    "header-newline": (b'"task\n",path,split\n' + OK, "has no column"),
    "header-escape": (b"\x1b[31mtask,path\n" + OK, "has no column"),
    "header-huge": (b",".join(b"a%d" % k for k in range(20_000)) + b"\n" + OK,
        "has no column"),
    "open-quote": (HEADER + b'dna,"one.ome.tif,0,1,train\n' + OK, "not a readable CSV"),
    "quote-inside": (HEADER + b'dna,"one"two.tif,0,1,train\n', "not a readable CSV"),
    "huge-field": (HEADER + b"dna," + b"a" * 200_000 + b"\n", "not a readable CSV"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a readable CSV"),
    "zeros": (bytes(5000), "not a readable CSV"),
    "json": (b'{"rows": [1, 2]}\n', "has no column"),
    "html": (b"<html>\n<body>\n", "has no column"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid x\n", "git lfs pull"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_no_manifest_is_one_error(name, folder, check):
    content, says = WHOLE[name]
    (folder / "manifest.csv").write_bytes(content)

    checked = check()

    assert checked.errors[0].startswith("error: manifest.csv: ")
    assert says in checked.errors[0]


def test_too_many_values_and_too_few_are_told_by_row(folder, check):
    text = rows("dna,one, two.tif,0,1,train", "dna")
    (folder / "manifest.csv").write_bytes(text)
    many, few = check().errors
    assert "row 2: 6 values for 5 columns" in many
    assert "row 3, column 'path'" in few


def test_every_bad_row_is_told_at_once(folder, check):
    bad = [f"dna,missing{k}.tif,0,1,train" for k in range(40)]
    (folder / "manifest.csv").write_bytes(rows(*bad))
    errors = check().errors
    assert len(errors) == 40
    assert all(f"missing{k}.tif" in line for k, line in enumerate(errors))


def test_one_image_in_two_splits_is_an_error(folder, check):
    (folder / "manifest.csv").write_bytes(rows("dna,two.ome.tif,0,1,train"))
    (error,) = check().errors
    assert "two.ome.tif is in 'valid' here and in 'train' in row 2" in error


def test_a_row_twice_is_a_warning(folder, check):
    (folder / "manifest.csv").write_bytes(rows("dna,one.ome.tif,0,1,train"))
    checked = check()
    assert checked.status == 3
    assert checked.errors == []
    assert any("row 3" in line and "row 2" in line for line in checked.others)


PLACES: dict[str, tuple[Callable[[Path], str], str]] = {
    "missing": (lambda f: "none.csv", "no such file"),
    "a-folder-of-images": (lambda f: ".", "holds no CSV file"),
    "fifo": (lambda f: os.mkfifo(f / "a.csv") or "a.csv", "neither a file"),
    "device": (lambda f: "/dev/zero", "neither a file"),
    "link-loop": (lambda f: (f / "a.csv").symlink_to("a.csv") or "a.csv", "a.csv"),
    "a-folder-with-a-fifo": (lambda f: os.mkfifo(f / "dna.csv") or ".", "no CSV file"),
    "an-image": (lambda f: "one.ome.tif", "not a readable CSV"),
    "zero-byte": (lambda f: "a\0.csv", "no path"),
    "too-long": (lambda f: "a" * 5000, "cannot be used"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_a_manifest_that_is_no_file_is_one_error(name, folder, check):
    place, says = PLACES[name]
    (error,) = check(place(folder)).errors
    assert says in error


@pytest.mark.parametrize("line", [b"", b"a,b\n"], ids=["zeros", "short-lines"])
def test_a_gigabyte_by_mistake_is_refused_unread(line, folder, check):
    with (folder / "manifest.csv").open("wb") as file:
        file.write(line * 10_000_000)
        file.truncate(1 << 30)
    (error,) = check().errors
    assert "manifest.csv" in error


OPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "grid-nan": (("--voxel-size", "nan", "1", "1"), "voxel_size_um=[nan"),
    "grid-zero": (("--voxel-size", "0", "1", "1"), "voxel_size_um=[0"),
    "grid-tiny": (("--voxel-size", "1e-30", "1", "1"), "voxel_size_um"),
    "grid-huge": (("--voxel-size", "1e30", "1", "1"), "voxel_size_um"),
    "source-infinite": (("--source-voxel-size", "inf", "1", "1"),
        "source_voxel_size_um=[inf"),
    "patch-zero": (("--patch-size", "0", "16", "16"), "patch"),
    "patch-negative": (("--patch-size", "-4", "16", "16"), "patch"),
    "root-missing": (("--root", "nowhere"), "nowhere"),
    "scenario-missing": (("--scenario", "nowhere.yaml"), "nowhere.yaml"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_a_bad_option_is_one_error(name, folder, worker, only_error):
    words, says = OPTIONS[name]
    (folder / "manifest.csv").write_bytes(HEADER + OK)
    done = worker("check", "manifest.csv", "--workers", "1", *words, folder=folder)
    if name == "root-missing":
        assert done.status == 2
        assert says in done.out
    else:
        assert says in only_error(done)


def test_a_grid_finer_than_memory_allows_is_an_error_of_the_row(folder, check):
    columns = b",voxel_size_z_um,voxel_size_y_um,voxel_size_x_um\n"
    header, *lines = (HEADER + OK).splitlines()
    content = b"".join([header, columns, *(line + b",900,900,900\n" for line in lines)])
    (folder / "manifest.csv").write_bytes(content)
    errors = [line for line in check().errors if "row" in line]
    assert len(errors) == 3
    assert all("GB; see that voxel_size_z_um" in line for line in errors)


GOOD: dict[str, bytes] = {
    "plain": HEADER + OK,
    "bom": b"\xef\xbb\xbf" + HEADER + OK,
    "windows-line-ends": (HEADER + OK).replace(b"\n", b"\r\n"),
    "old-mac-line-ends": (HEADER + OK).replace(b"\n", b"\r"),
    "no-last-line-end": (HEADER + OK).rstrip(),
    "all-quoted": b"".join(b'"' + line.replace(b",",
        b'","') + b'"\n' for line in (HEADER + OK).splitlines()),
    "blank-lines": HEADER + b"\n" + OK.replace(b"\n", b"\n\n,,,,\n"),
    "spaces": (HEADER + OK).replace(b",", b" , "),
    "names-of-channels": (HEADER + OK).replace(b",0,1,", b",TL Brightfield,egfp,"),
    "other-columns": b"".join(
        line + b',"a, b",\n' for line in (HEADER + OK).splitlines()
    ).replace(b'split,"a, b",', b"split,notes,more"),
    "split-in-capitals": (HEADER + OK).replace(b"train", b"Training"),
    "choices-of-zero": (HEADER + OK).replace(b"split\n",
        b"split,time,scene\n").replace(b"train\n", b"train,0,0\n"),
    "crop-of-everything": (HEADER + OK).replace(b"split\n",
        b"split,z0,z1\n").replace(b"train\n", b"train,0,4\n"),
    "dots-in-paths": (HEADER + OK).replace(b"one", b"./../images/./one"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_manifest_that_looks_odd_but_is_right(name, folder, check):
    content = GOOD[name].replace(b"images", folder.name.encode())
    (folder / "manifest.csv").write_bytes(content)
    assert check().errors == []


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "komma, zitat'",
        "größe µm",
        "細胞",
        "-dash",
        "%20{}$HOME",
        "a" * 200,
    ],
)
def test_any_file_name_will_do_with_relative_and_absolute_paths(
    name, folder, check, as_csv
):
    header = HEADER.decode().strip().split(",")
    inside = folder / name
    inside.mkdir()
    image = inside / f"{name}.ome.tif"
    (folder / "one.ome.tif").rename(image)
    listed = []
    for path, split in (
        (f"{name}/{image.name}", "train"),
        (str(folder / "two.ome.tif"), "valid"),
        ("three.ome.tif", "test"),
    ):
        listed.append(dict(zip(header, ("dna", path, "0", "1", split), strict=True)))
    (folder / "manifest.csv").write_text(as_csv(listed), encoding="utf-8")
    assert check().errors == []


def test_paths_may_be_relative_to_another_folder(folder, check):
    (folder / "sub").mkdir()
    (folder / "sub" / "manifest.csv").write_bytes(HEADER + OK)
    assert len(check("sub/manifest.csv").errors) > 0
    assert check("sub/manifest.csv", "--root", str(folder)).errors == []


def test_a_line_break_in_a_file_name_stays_on_one_line(folder, check):
    (folder / "one.ome.tif").rename(folder / "one\n.ome.tif")
    (folder / "manifest.csv").write_bytes(
        (HEADER + OK)
        .replace(b"one.ome.tif", b'"one\n.ome.tif"')
        .replace(b"0,1", b"0,7")
    )
    assert len(check().errors) >= 3


def test_a_folder_whose_name_is_no_unicode_will_do(folder, worker, tmp_path_factory):
    old = Path(os.fsdecode(os.fsencode(tmp_path_factory.mktemp("old")) + b"/gr\xf6sse"))
    folder.rename(old)
    (old / "manifest.csv").write_bytes(HEADER + OK)
    words = (str(old / "manifest.csv"), "--workers", "1")
    for verb, options in (
        ("check", ("--patch-size", "4", "16", "16")),
        ("check", ("--patch-size", "4", "16", "16", "--json")),
        ("check", ("--patch-size", "4", "32", "32")),
        ("prepare", ()),
    ):
        done = worker(verb, *words, *options, folder=old.parent)
        assert done.status == (2 if "32" in options else 0 if verb == "prepare" else 3)
