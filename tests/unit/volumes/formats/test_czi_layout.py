"""Damaged CZI files: one line of error or the right pixels, in bounded memory."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.volumes.opening import open_volume

SHAPE = (2, 3, 16, 12)
FILE_HEADER = range(32, 112)  # its fields; segment headers take 32 bytes

READ_ALL = """
import json, resource, sys
from pathlib import Path
import numpy as np
import numcodecs.zstd
from continual_repmode.volumes.opening import open_volume
from continual_repmode.errors import UserError

folder, limit = Path(sys.argv[1]), 2 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
right, outcomes = np.load(folder / "right.npy"), {}
for path in sorted(folder.glob("*.czi")):
    try:
        volume = open_volume(path)
        read = np.stack([volume.read_channel(c) for c in range(len(right))])
        outcomes[path.name] = "right" if np.array_equal(read, right) else "wrong"
    except UserError as error:
        one_line = len(str(error).splitlines()) == 1 and path.name in str(error)
        outcomes[path.name] = "error" if one_line else f"lines: {error}"
    except BaseException as error:
        outcomes[path.name] = f"{type(error).__name__}: {error}"
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([outcomes, (peak - before) / 1024]))
"""


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 60000, SHAPE).astype(np.uint16)


@pytest.fixture(params=["directory first", "directory last, zstd1"])
def intact(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    write_czi: Callable[..., Path],
    pack_czi: Callable[..., Path],
    raw_block: Any,
) -> bytes:
    """The bytes of a good file, as ZEN lays it out and as Zeiss' library does."""
    path, data = tmp_path / "intact.czi", pixels()
    if request.param == "directory first":
        blocks = [
            raw_block(data[c, z], {"Z": z, "C": c, "T": 0, "S": 0})
            for z, c in np.ndindex(3, 2)
        ]
        pack_czi(path, blocks, xml="<ImageDocument><Metadata/></ImageDocument>")
    else:
        write_czi(path, data, compression="zstd1", channel_names=["EGFP", "Bright"])
    raw = path.read_bytes()
    path.unlink()
    return raw


def outcomes_of(folder: Path, damaged: Iterator[tuple[str, bytes]]) -> dict[str, str]:
    """Read every damaged file in a process of little memory and little time."""
    np.save(folder / "right.npy", pixels())
    for name, raw in damaged:
        (folder / f"{name}.czi").write_bytes(raw)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(folder)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    outcomes, peak_mb = json.loads(done.stdout)
    assert peak_mb < 50
    assert len(outcomes) == len(list(folder.glob("*.czi"))) > 0
    return outcomes


def flipped(raw: bytes, bits: Iterator[int] | list[int]) -> Iterator[tuple[str, bytes]]:
    for bit in bits:
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"{bit // 8:06}-{bit % 8}", bytes(changed)


def segments(raw: bytes, name: bytes) -> list[range]:
    """Return the bytes of all segments of a name."""
    found, position = [], 0
    while position < len(raw):
        sid, allocated, _ = struct.unpack_from("<16sqq", raw, position)
        end = position + 32 + allocated
        if sid.rstrip(b"\0") == name:
            found.append(range(position, end))
        position = end
    return found


def test_any_flipped_bit_is_an_error_or_read_right(
    tmp_path: Path, intact: bytes
) -> None:
    """In the file header, the directory, and the entries and sizes of sub-blocks."""
    rng = np.random.default_rng(0)
    (directory,) = segments(intact, b"ZISRAWDIRECTORY")
    entries = range(directory.start + 32 + 128, directory.stop)
    starts = [block.start for block in segments(intact, b"ZISRAWSUBBLOCK")]
    header = [*range(36, 48), *range(48, 48 + 32 + 20 * 6)]
    some = [int(rng.choice(entries)) for _ in range(600)]
    some += [int(rng.choice(starts) + rng.choice(header)) for _ in range(400)]
    bits = {8 * byte + int(rng.integers(8)) for byte in some}
    bits |= {8 * k + bit for k in (*range(112), *directory[:36]) for bit in range(8)}

    outcomes = outcomes_of(tmp_path, flipped(intact, sorted(bits)))

    assert set(outcomes.values()) == {"error", "right"}
    assert {outcomes[f"{byte:06}-0.czi"] for byte in range(16)} == {"error"}


def test_a_directory_that_points_to_another_channels_pixels_is_an_error(
    tmp_path: Path, intact: bytes
) -> None:
    blocks = segments(intact, b"ZISRAWSUBBLOCK")
    changed = bytearray(intact)
    (directory,) = segments(intact, b"ZISRAWDIRECTORY")
    for here, there in ((blocks[0], blocks[1]), (blocks[1], blocks[0])):
        entry = intact.index(struct.pack("<q", here.start), directory.start)
        struct.pack_into("<q", changed, entry, there.start)
    (tmp_path / "a.czi").write_bytes(changed)

    with pytest.raises(
        UserError, match=r"a\.czi: damaged .*the directory and the sub-"
    ):
        open_volume(tmp_path / "a.czi").read_channel(0)


def test_huge_declared_sizes_take_no_memory(tmp_path: Path, intact: bytes) -> None:
    (directory,) = segments(intact, b"ZISRAWDIRECTORY")
    (metadata,) = segments(intact, b"ZISRAWMETADATA")
    block = segments(intact, b"ZISRAWSUBBLOCK")[0]
    fields = {  # name: position and format of the number
        "segment": (directory.start + 16, "<q"),
        "used": (directory.start + 24, "<q"),
        "entries": (directory.start + 32, "<i"),
        "dimensions": (directory.start + 32 + 128 + 28, "<i"),
        "width": (directory.start + 32 + 128 + 32 + 8, "<i"),
        "metadata": (metadata.start + 32, "<i"),
        "pixels": (block.start + 32 + 8, "<q"),
        "attachment": (block.start + 32 + 4, "<i"),
        "directory-position": (FILE_HEADER.start + 52, "<q"),
        "metadata-position": (FILE_HEADER.start + 60, "<q"),
    }

    def damaged() -> Iterator[tuple[str, bytes]]:
        for name, (position, number) in fields.items():
            largest = 2 ** (8 * struct.calcsize(number) - 1) - 1
            for value in (largest, -1, -largest, largest // 4):
                changed = bytearray(intact)
                struct.pack_into(number, changed, position, value)
                yield f"{name}{value}", bytes(changed)

    outcomes = outcomes_of(tmp_path, damaged())

    assert len(outcomes) == 4 * len(fields)
    # only the allocated size may be wrong, where the used size tells
    errors = {name for name, outcome in outcomes.items() if outcome == "error"}
    assert set(outcomes.values()) <= {"error", "right"}
    assert {name for name in outcomes if not name.startswith("segment")} <= errors


def test_the_parts_of_an_image_in_several_files_are_refused(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    plane = np.zeros((4, 4), np.uint8)
    part = pack_czi(tmp_path / "a (1).czi", [raw_block(plane)], file_part=1)
    master = pack_czi(
        tmp_path / "a.czi", [raw_block(plane), raw_block(plane, {"Z": 1}, file_part=1)]
    )

    with pytest.raises(UserError, match=r"a \(1\)\.czi: is part 1 of a CZI in several"):
        open_volume(part)
    with pytest.raises(UserError, match=r"a\.czi: is the first file of a CZI in sever"):
        open_volume(master)


def test_a_file_without_images_is_refused(tmp_path: Path, pack_czi: Any) -> None:
    with pytest.raises(UserError, match=r"a\.czi: .*holds no image"):
        open_volume(pack_czi(tmp_path / "a.czi", []))


def test_a_file_deleted_after_opening_is_an_error(
    tmp_path: Path, write_czi: Callable[..., Path]
) -> None:
    path = write_czi(tmp_path / "a.czi", pixels())
    volume = open_volume(path)
    path.unlink()

    with pytest.raises(UserError, match=r"a\.czi: cannot be read \(No such file"):
        volume.read_channel(0)
