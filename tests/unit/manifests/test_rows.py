"""Tables of other programs say the same as one of ours."""

from pathlib import Path

import pytest

from continual_repmode.errors import UserError
from continual_repmode.manifests.rows import ManifestRow, read_rows

HEADER = (
    *("task", "path", "channel_signal", "channel_target", "split", "time"),
    *("voxel_size_z_um", "x0", "x1"),
)
ROWS = (
    ("dna", "Zellkörper/a 0.tif", "0", "1", "train", "2", "0.29", "0", "40"),
    ("dna", "im/a1.tif", "Bright, left", "DNA", "test", "", "", "", ""),
)


def text_of(rows: object, delimiter: str = ",", newline: str = "\n") -> str:
    def cell(value: str) -> str:
        return f'"{value}"' if delimiter in value else value

    return newline.join(delimiter.join(map(cell, row)) for row in rows) + newline


def changed(*columns: str, value: object) -> list[tuple[str, ...]]:
    """Return the rows with a function applied to some columns."""
    places = [HEADER.index(column) for column in columns]
    return [
        tuple(value(v) if k in places else v for k, v in enumerate(row)) for row in ROWS
    ]


def as_float(value: str) -> str:
    return f"{value}.0" if value.isdecimal() else value


PLAIN = text_of([HEADER, *ROWS])
TABLES: dict[str, bytes] = {
    "plain": PLAIN.encode(),
    "mark of UTF-8": PLAIN.encode("utf-8-sig"),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 with tabs, as Excel": text_of([HEADER, *ROWS], "\t", "\r\n").encode(
        "utf-16"
    ),
    "old Mac": text_of([HEADER, *ROWS], newline="\r").encode(),
    "tabs": text_of([HEADER, *ROWS], "\t").encode(),
    "bars": text_of([HEADER, *ROWS], "|").encode(),
    "semicolons and decimal commas": text_of(
        [HEADER, *changed("voxel_size_z_um", value=lambda v: v.replace(".", ","))], ";"
    ).encode("utf-8-sig"),
    "sep=": ("sep=;\r\n" + text_of([HEADER, *ROWS], ";", "\r\n")).encode(),
    "sep=,": ("SEP=,\n" + PLAIN).encode(),
    "comments": ("# mine\n\n" + PLAIN + "# end\n").encode(),
    "capitals": text_of(
        [[n.title().replace("_", " ") for n in HEADER], *ROWS]
    ).encode(),
    "index of pandas": text_of(
        [("", *HEADER), *[(f"{k}", *row) for k, row in enumerate(ROWS)]]
    ).encode(),
    "everything quoted": "\n".join(
        ", ".join(f'"{v}"' for v in row) for row in (HEADER, *ROWS)
    ).encode(),
    "quoted, with semicolons": "\n".join(
        ";".join(f'"{v}"' for v in row) for row in (HEADER, *ROWS)
    ).encode(),
    "floats of pandas": text_of(
        [
            HEADER,
            *changed(
                "channel_signal", "channel_target", "time", "x0", "x1", value=as_float
            ),
        ]
    ).encode(),
    "empty columns and rows of Excel": text_of(
        [(*HEADER, "", ""), *[(*row, "", "", "") for row in ROWS], ("",) * 12]
    ).encode(),
    **{
        f"{blank} for blank": text_of(
            [HEADER, *changed(*HEADER[5:], value=lambda v, b=blank: v or b)]
        ).encode()
        for blank in ("nan", "NaN", "<NA>", "None", "NULL")
    },
    "paths of Windows": text_of(
        [HEADER, *changed("path", value=lambda v: v.replace("/", "\\"))]
    ).encode(),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for row in ROWS:
        (tmp_path / row[1]).parent.mkdir(exist_ok=True)
        (tmp_path / row[1]).write_bytes(b"x")
    return tmp_path


def test_tables_of_other_programs_say_the_same(folder: Path) -> None:
    def read(content: bytes) -> list[ManifestRow]:
        (folder / "m.csv").write_bytes(content)
        return read_rows(folder / "m.csv")

    def told(row: ManifestRow) -> tuple[object, ...]:
        return (
            *(row.task, row.signal_path, row.signal_channel, row.target_channel),
            *(row.split, row.choices, row.voxel_size_um, row.crop),
        )

    expected = [told(row) for row in read(TABLES["plain"])]
    assert expected == [
        (
            *("dna", folder / "Zellkörper" / "a 0.tif", "0", "1", "train"),
            *((("time", "2"),), (0.29, None, None), (None,) * 4 + (0, 40)),
        ),
        (
            *("dna", folder / "im" / "a1.tif", "Bright, left", "DNA", "test"),
            *((), (None,) * 3, (None,) * 6),
        ),
    ]
    for name, content in TABLES.items():
        assert [told(row) for row in read(content)] == expected, name


def test_what_could_mean_two_things_is_asked_back(folder: Path) -> None:
    path = folder / "m.csv"
    for content, message in (
        (PLAIN.replace("0.29", '"1,250"').encode(), "is 1.250 or 1250 meant"),
        (PLAIN.encode("cp1252"), "CSV UTF-8"),
        (PLAIN.replace("im/a1", "im/a2").encode(), "no such file"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_rows(path)


def test_rows_of_one_and_of_two_files_may_be_mixed(tmp_path: Path) -> None:
    for name in ("both", "light", "dye"):
        (tmp_path / f"{name}.tif").touch()
    header = "task,path,channel_signal,channel_target,path_signal,path_target\n"
    table = tmp_path / "mixed.csv"
    table.write_text(f"{header}dna,both.tif,0,1\ndna,,,,light.tif,dye.tif\n")

    one, two = read_rows(table)

    assert one.signal_path == one.target_path == tmp_path / "both.tif"
    assert (one.signal_channel, one.target_channel) == ("0", "1")
    assert (two.signal_path.name, two.target_path.name) == ("light.tif", "dye.tif")
    assert (two.signal_channel, two.target_channel) == (None, None)
    for row, message in (
        ("dna,both.tif,0,1,light.tif,dye.tif", "column 'path_signal': .*'path' is fil"),
        ("dna,,,,light.tif,", "column 'path_target': ''"),
        ("dna,,0,1", "column 'path': ''"),
    ):
        table.write_text(f"{header}{row}\n")
        with pytest.raises(UserError, match=message):
            read_rows(table)
