import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from continual_repmode.allen.catalog import DATASETS
from continual_repmode.allen.folder import AllenFolder
from continual_repmode.allen.manifest import BuiltManifest, build_manifest
from continual_repmode.errors import UserError
from continual_repmode.manifests.manifest import ManifestCollection
from continual_repmode.tasks import TASKS

SEVEN = ("Bright_1", "CMDRP", "", "EGFP", "", "H3342", "Bright_2")
FOUR = ("DRAQ5", "EGFP", "Hoechst", "TL")
CAAX = ("", "", "", "CMDRP", "TL Brightfield")
HEADER = (
    "task,split,path,channel_signal,channel_target,dataset,channel_signal_name,"
    "channel_target_name,voxel_size_from"
)


def record(folder: Path) -> None:
    """Make a folder look as if it had been unpacked."""
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.name != "contents.json"
    }
    (folder / "contents.json").write_text(json.dumps({"files": files}))


@pytest.fixture
def put(tmp_path, write_field):
    """Put a data set of a number of equal images into the folder."""

    def put(
        dataset: str,
        number: int,
        channels: Sequence[str] = SEVEN,
        um: tuple[float, float, float] | None = (0.29, 0.108, 0.108),
    ) -> Path:
        folder = tmp_path / dataset
        image = write_field(tmp_path / "one.ome.tif", channels, um)
        folder.mkdir(exist_ok=True)
        for index in range(number):
            (folder / f"{dataset}_{index:02d}.ome.tif").write_bytes(image.read_bytes())
        image.unlink()
        record(folder)
        return folder

    return put


@pytest.fixture
def build(tmp_path):
    def build(**options: object) -> BuiltManifest:
        return build_manifest(AllenFolder(tmp_path), **options)

    return build


def read(manifest: BuiltManifest) -> list[dict[str, str]]:
    with manifest.path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_whole_collection_has_the_papers_counts(put, build):
    for dataset in DATASETS:
        caax = dataset.name == "membrane_caax_63x"
        put(dataset.name, dataset.num_images, CAAX if caax else SEVEN)

    manifest = build()

    counts = {task: tuple(split.values()) for task, split in manifest.counts.items()}
    assert counts == {
        task: (34, 4, 13) if task == "cell_membrane" else (54, 6, 20) for task in TASKS
    }
    assert tuple(counts) == TASKS
    rows = read(manifest)
    assert Counter(row["split"] for row in rows) == {
        "train": 628, "valid": 70, "test": 233,
    }  # fmt: skip
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row["path"], set()).add(row["split"])
    assert len(sides) == 851
    assert max(map(len, sides.values())) == 1
    dna = {row["dataset"] for row in rows if row["task"] == "dna"}
    assert len(dna) == 9
    assert not dna & {"fibrillarin", "membrane_caax_63x"}
    assert not any("the paper used" in note for note in manifest.notes)


def test_the_manifest_is_one_that_a_run_reads(put, build):
    put("tom20", 12)
    put("fibrillarin", 12)

    manifest = build()

    assert manifest.path.read_text().splitlines()[0] == HEADER
    collection = ManifestCollection(manifest.path)
    assert collection.tasks == ("dna", "mitochondria", "nucleolus")
    for task, target in (("dna", 5), ("mitochondria", 3), ("nucleolus", 3)):
        assert [len(collection.pairs(task, split)) for split in manifest.counts[task]] \
            == [8, 1, 3]  # fmt: skip
        for pair in collection.pairs(task, "train"):
            assert (pair.signal.channel, pair.target.channel) == (6, target)
            assert pair.source_voxel_size_um == pytest.approx((0.29, 0.108, 0.108))


def test_channels_belong_to_the_image_and_not_to_the_task(tmp_path, put, build):
    put("lamin_b1", 12)
    for old in sorted((tmp_path / "lamin_b1").glob("*.tif"))[:5]:
        old.unlink()
    others = put("tom20", 5, FOUR)
    for image in others.glob("*.tif"):
        image.rename(tmp_path / "lamin_b1" / image.name)
    for path in others.iterdir():
        path.unlink()
    others.rmdir()
    record(tmp_path / "lamin_b1")

    channels = Counter(
        (row["task"], row["path"][9:14], row["channel_signal"], row["channel_target"],
         row["channel_signal_name"], row["channel_target_name"])
        for row in read(build())
    )  # fmt: skip

    assert channels == {
        ("nuclear_envelope", "lamin", "6", "3", "Bright_2", "EGFP"): 7,
        ("nuclear_envelope", "tom20", "3", "1", "TL", "EGFP"): 5,
        ("dna", "lamin", "6", "5", "Bright_2", "H3342"): 7,
        ("dna", "tom20", "3", "2", "TL", "Hoechst"): 5,
    }


def test_czi_files_are_read_like_any_other(tmp_path, write_czi, build):
    (tmp_path / "zo1").mkdir()
    data = np.random.default_rng(0).integers(0, 999, (7, 2, 8, 8)).astype("uint16")
    for index in range(4):
        write_czi(
            tmp_path / "zo1" / f"3500001{index}_100X_20171024_1-Scene-07.czi",
            data,
            channel_names=SEVEN,
            voxel_size_um=(0.29, 0.108, 0.108),
        )
    record(tmp_path / "zo1")

    manifest = build()

    assert {
        (row["channel_signal"], row["channel_target"]) for row in read(manifest)
    } == {
        ("6", "3"),
        ("6", "5"),
    }
    (pair,) = ManifestCollection(manifest.path).pairs("tight_junction", "test")
    np.testing.assert_array_equal(pair.target.volume.read_channel(3), data[3])
    assert "zo1: voxel size 0.29 um x 0.108 um x 0.108 um (z, y, x) in 4 images" in (
        manifest.notes
    )


def test_a_name_against_its_place_stops_everything(tmp_path, put, build):
    put("zo1", 12, ("Bright_1", "EGFP", "", "CMDRP", "", "H3342", "Bright_2"))
    message = r"zo1_\d\d.ome.tif: by its place, 'structure' is channel 3; by .* is 1\."
    with pytest.raises(UserError, match=message):
        build()
    assert not (tmp_path / "manifest.csv").exists()


def test_an_image_whose_channels_cannot_be_told_is_left_out_with_a_note(
    tmp_path, put, build, write_field
):
    folder = put("zo1", 12)

    def splits(manifest):
        own = [row for row in read(manifest) if row["task"] == "tight_junction"]
        return {row["path"]: row["split"] for row in own}

    before = splits(build())
    write_field(
        folder / "zo1_05.ome.tif", ("Bright_1", "EGFP", "", "CMDRP", *SEVEN[4:])
    )
    record(folder)
    manifest = build()
    assert before.pop("zo1/zo1_05.ome.tif")
    assert splits(manifest) == before  # nothing moves from one split to another
    (note,) = {note for note in manifest.notes if note.startswith("left out: ")}
    assert "zo1_05.ome.tif: by its place, 'structure' is channel 3; by the" in note
    assert "write its row of the manifest by hand" in note


def test_nameless_channels_are_found_by_their_place_with_a_note(put, build):
    put("zo1", 12, ("",) * 7)
    manifest = build()
    assert {row["channel_signal"] for row in read(manifest)} == {"6"}
    assert "zo1: light is channel 6 '' by its place alone in 24 rows" in manifest.notes


def test_what_is_there_of_the_nine_makes_dna_and_is_noted(put, build):
    put("fibrillarin", 12)
    assert tuple(build().counts) == ("nucleolus",)
    alone = [row for row in read(build()) if row["task"] == "nucleolus"]
    put("zo1", 12)
    put("tom20", 8)
    manifest = build()
    expected = "zo1: 12 images, the paper used 80; divided by the same rule into 8/1/3"
    assert expected in manifest.notes
    assert sum(manifest.counts["dna"].values()) == 10  # the mean of both
    (note,) = [note for note in manifest.notes if note.startswith("dna: ")]
    assert "drawn from tom20, zo1 only" in note
    assert "alpha_tubulin" in note
    assert [row for row in read(manifest) if row["task"] == "nucleolus"] == alone


def test_paper_code_gives_every_image_the_published_factor(put, build):
    put("membrane_caax_63x", 12, CAAX, (0.29, 0.086, 0.086))
    manifest = build(voxel_size="paper_code")
    rows = read(manifest)
    assert {row["voxel_size_from"] for row in rows} == {"paper_code"}
    for row in rows:
        sizes = [float(row[f"voxel_size_{axis}_um"]) for axis in "zyx"]
        assert [size / 0.29 for size in sizes] == pytest.approx(
            [1, 0.37241, 0.37241], abs=5e-6
        )
    (pair,) = ManifestCollection(manifest.path).pairs("cell_membrane", "valid")[:1]
    assert pair.source_voxel_size_um == (0.29, 0.108, 0.108)
    assert any("0.108 um (z, y, x) for every image" in note for note in manifest.notes)


def test_metadata_leaves_the_size_to_each_image_and_tells_it(put, build):
    put("membrane_caax_63x", 12, CAAX, (0.29, 0.086, 0.086))
    put("zo1", 12, SEVEN, None)
    manifest = build()
    assert {row["voxel_size_from"] for row in read(manifest)} == {"metadata"}
    assert "voxel_size_x_um" not in read(manifest)[0]
    told = "\n".join(manifest.notes)
    assert "caax_63x: voxel size 0.29 um x 0.086 um x 0.086 um (z, y, x) in 12" in told
    assert "zo1: voxel size unknown x unknown x unknown (z, y, x) in 12" in told
    assert "--voxel-size paper_code" in told


def test_published_lists_decide_order_and_membership(tmp_path, put, build):
    put("fibrillarin", 14)
    lists = tmp_path / "csvs"
    lists.mkdir()
    order = [
        f"fibrillarin_{index:02d}.ome.tif" for index in (7, *range(6), *range(8, 13))
    ]
    text = "path_czi,channel_signal\n" + "".join(
        f"data/fibrillarin/{name},6\n" for name in order
    )
    (lists / "fibrillarin.csv").write_text(text)

    manifest = build(published_lists=lists)

    rows = read(manifest)
    assert sorted(row["path"] for row in rows) == sorted(
        f"fibrillarin/{name}" for name in order
    )
    shuffled = np.random.RandomState(42).permutation(12)
    test = [row["path"] for row in rows if row["split"] == "test"]
    assert test == [f"fibrillarin/{order[index]}" for index in shuffled[9:]]
    assert any(
        "2 images that are not in the published list" in n for n in manifest.notes
    )

    (lists / "fibrillarin.csv").write_text(text + "data/fibrillarin/other.czi,6\n")
    with pytest.raises(UserError, match=r"fibrillarin: lacks 'other.czi'"):
        build(published_lists=lists)


def test_a_data_set_with_missing_files_is_left_out(tmp_path, put, build):
    put("zo1", 12)
    put("tom20", 12)
    next((tmp_path / "zo1").glob("*.tif")).unlink()
    manifest = build()
    assert tuple(manifest.counts) == ("dna", "mitochondria")
    assert "zo1: left out, because files are missing" in manifest.notes


def test_nothing_to_make_a_manifest_of(tmp_path, build):
    with pytest.raises(UserError, match="no complete data set"):
        build()
    (tmp_path / "zo1").mkdir()
    (tmp_path / "zo1/readme.txt").touch()
    record(tmp_path / "zo1")
    with pytest.raises(UserError, match="zo1: no images"):
        build()


def test_a_damaged_image_is_named_and_the_old_manifest_stays(tmp_path, put, build):
    put("zo1", 12)
    before = build().path.read_bytes()
    (tmp_path / "zo1/zo1_05.ome.tif").write_bytes(b"II*\0")
    record(tmp_path / "zo1")
    with pytest.raises(UserError, match=r"zo1_05.ome.tif"):
        build()
    assert (tmp_path / "manifest.csv").read_bytes() == before
