from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from continual_repmode.errors import Faults, UserError
from continual_repmode.manifests.manifest import ManifestCollection

SHARED = Path(__file__).parents[4] / "shared" / "data"
UM = {"PhysicalSizeZ": 0.29, "PhysicalSizeY": 0.29, "PhysicalSizeX": 0.29}


def write_field(
    path: Path, shape: tuple[int, ...] = (2, 4, 12, 10), **ome: Any
) -> None:
    """Write a CZYX or ZYX image of random counts, with 0.29 µm voxels by default."""
    rng = np.random.default_rng(len(path.name))
    tifffile.imwrite(
        path, rng.integers(0, 4000, shape).astype(np.uint16), ome=True,
        photometric="minisblack",
        metadata={"axes": "CZYX"[-len(shape):], **(ome or UM)},
    )  # fmt: skip


def write_manifest(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def one_file(tmp_path):
    """Return a folder with a.ome.tif, b.ome.tif and c.ome.tif of two channels each."""
    for name in "abc":
        write_field(
            tmp_path / f"{name}.ome.tif", Channel={"Name": ["light", "DNA"]}, **UM
        )
    return tmp_path


HEADER = "task,path,channel_signal,channel_target"


def test_channels_of_one_file_by_index_or_name(one_file):
    path = write_manifest(
        one_file,
        f"{HEADER},split,remark\n"
        "dna,a.ome.tif,0,1,train,fine\n"
        "dna,b.ome.tif,light,DNA,valid,\n"
        "dna,c.ome.tif,1,light,test,swapped\n",
    )

    collection = ManifestCollection(path)

    assert collection.tasks == ("dna",)
    assert collection.voxel_size_um == (0.29, 0.29, 0.29)
    for split, name, signal_channel in (
        ("train", "a", 0),
        ("valid", "b", 0),
        ("test", "c", 1),
    ):
        (pair,) = collection.pairs("dna", split)
        assert (pair.name, pair.task) == (f"dna_{name}", "dna")
        raw = tifffile.imread(one_file / f"{name}.ome.tif").astype(np.float64)
        loaded = pair.load()
        for volume, intensity, channel in (
            (loaded.signal, loaded.signal_intensity, raw[signal_channel]),
            (loaded.target, loaded.target_intensity, raw[1 - signal_channel]),
        ):
            assert volume.dtype == np.float16
            expected = (channel - channel.mean()) / channel.std()
            np.testing.assert_allclose(volume, expected, rtol=2**-11, atol=1e-6)
            assert intensity.mean == pytest.approx(channel.mean())
            assert intensity.std == pytest.approx(channel.std())


def test_two_files_per_pair_and_a_byte_order_mark(tmp_path):
    (tmp_path / "light").mkdir()
    write_field(tmp_path / "light" / "f1.tif", (4, 12, 10))
    write_field(tmp_path / "nuclei.tif", (4, 12, 10))
    path = write_manifest(
        tmp_path,
        "\ufefftask,path_signal,path_target,split\n"
        "dna, light/f1.tif ,nuclei.tif,train\n\n,,,\n",
    )

    (pair,) = ManifestCollection(path).pairs("dna", "train")

    assert pair.name == "dna_f1"
    assert pair.load().target.shape == (4, 12, 10)


def test_the_zscore_comes_before_the_resize(tmp_path):
    write_field(
        tmp_path / "a.tif", PhysicalSizeZ=0.29, PhysicalSizeY=0.108, PhysicalSizeX=0.108
    )
    path = write_manifest(tmp_path, f"{HEADER},split\ndna,a.tif,0,1,train\n")

    (pair,) = ManifestCollection(path, storage="float32").pairs("dna", "train")

    raw = tifffile.imread(tmp_path / "a.tif")[1].astype(np.float64)
    normalized = (raw - raw.mean()) / raw.std()
    expected = ndimage.zoom(normalized, (1, 4 / 12, 4 / 10), order=3, mode="nearest")
    np.testing.assert_allclose(pair.load().target, expected, atol=1e-4)
    assert pair.load().target.std() != pytest.approx(1, abs=1e-3)


def test_a_pair_is_prepared_once(one_file, monkeypatch):
    path = write_manifest(one_file, f"{HEADER},split\ndna,a.ome.tif,0,1,train\n")
    (pair,) = ManifestCollection(path).pairs("dna", "train")
    first = pair.load()
    monkeypatch.setattr(tifffile, "TiffFile", None)

    np.testing.assert_array_equal(pair.load().signal, first.signal)
    assert not pair.load().signal.flags.writeable


def test_manifests_of_pytorch_fnet_tell_task_and_split_by_their_names(one_file):
    csvs = one_file / "csvs"
    csvs.mkdir()
    header = "path_czi,channel_signal,channel_target,structureProteinName"
    for name, image in (
        ("beta_actin_train", "a"), ("beta_actin_test", "b"), ("beta_actin_czis", "c"),
        ("tom20", "c"),
    ):  # fmt: skip
        (csvs / f"{name}.csv").write_text(f"{header}\n{image}.ome.tif,0,1,ACTB\n")
    (csvs / "unrelated.csv").write_text("a,b\n1,2\n")

    train, test = (
        ManifestCollection(csvs / f"beta_actin_{split}.csv", root=one_file)
        for split in ("train", "test")
    )

    assert [pair.name for pair in train.pairs("actin_filament", "train")] == [
        "actin_filament_a"
    ]
    assert len(test.pairs("actin_filament", "test")) == 1
    with pytest.raises(
        UserError, match=r"tom20\.csv: row 2, column 'split'.*every row"
    ):
        ManifestCollection(csvs, root=one_file)
    (csvs / "tom20.csv").unlink()
    folder = ManifestCollection(csvs, root=one_file)
    assert [(pair.name, split) for pair, split in folder.all_pairs()] == [
        ("actin_filament_b", "test"),
        ("actin_filament_a", "train"),
    ]


def test_a_name_that_tells_no_task_tells_no_split_either(tmp_path):
    for name in ("quick_test.csv", "test/volumes.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        rows = []
        for index in range(4):
            write_field(path.parent / f"f{index}.tif", (2, 3, 8, 8))
            rows.append(f"dna,f{index}.tif,0,1")
        path.write_text("\n".join([HEADER, *rows]) + "\n")

        splits = [split for _, split in ManifestCollection(path).all_pairs()]

        assert sorted(splits) == ["test", "train", "train", "valid"], name


def test_faults_of_rows_can_be_collected(one_file):
    path = write_manifest(
        one_file,
        f"{HEADER},split\n"
        "dna,a.ome.tif,0,1,train\n"
        "dna,zz.ome.tif,0,1,train\n"
        "dna,b.ome.tif,0,7,test\n"
        "dna,a.ome.tif,1,0,test\n",
    )
    faults = Faults()

    collection = ManifestCollection(path, faults=faults)

    told = [str(fault) for fault in faults.found]
    assert [text.split(": ")[1].split(",")[0] for text in told] == [
        "row 3", "row 4", "row 5",
    ]  # fmt: skip
    assert ["no such file" in told[0], "no channel '7'" in told[1]] == [True, True]
    assert "is in 'test' here and in 'train' in row 2" in told[2]
    assert [pair.row.number for pair, _ in collection.all_pairs()] == [2, 5]


def test_one_field_can_be_cut_into_training_and_test(one_file):
    path = write_manifest(
        one_file,
        f"{HEADER},split,z0,z1,y0,y1,x0,x1\n"
        "dna,a.ome.tif,0,1,train,,,,6,,\n"
        "dna,a.ome.tif,0,1,test,1,3,6,12,2,\n",
    )

    collection = ManifestCollection(path)

    (train,), (test,) = (
        collection.pairs("dna", "train"),
        collection.pairs("dna", "test"),
    )
    assert [train.name, test.name] == ["dna_a", "dna_a_row3"]
    assert train.load().signal.shape == (4, 6, 10)
    raw = tifffile.imread(one_file / "a.ome.tif")[0][1:3, 6:12, 2:]
    assert test.load().signal.shape == raw.shape
    assert test.load().signal_intensity.mean == pytest.approx(raw.mean())


def test_voxel_size_of_the_row_wins_over_the_option_and_this_over_the_file(tmp_path):
    write_field(tmp_path / "a.tif", PhysicalSizeY=0.1, PhysicalSizeX=0.2)
    path = write_manifest(
        tmp_path, f"{HEADER},split,voxel_size_x_um\ndna,a.tif,0,1,train,0.58\n"
    )

    collection = ManifestCollection(path, source_voxel_size_um=[0.87, 7, 7])

    (pair,) = collection.pairs("dna", "train")
    assert pair.source_voxel_size_um == (0.87, 7, 0.58)
    assert pair.load().signal.shape == (12, 290, 20)
    overruled, unused = collection.notes()
    assert (
        "1 row: the voxel size is 0.87 x 7 x 0.58 µm as given, not ? x 0.1 x 0.2 µm"
        in overruled
    )
    assert "come before data.source_voxel_size_um (--source-voxel-size)" in unused


def test_without_a_split_column_sources_are_divided_at_random(tmp_path):
    rows = []
    for index in range(10):
        write_field(tmp_path / f"f{index}.tif", (3, 2, 8, 8))
        rows += [f"dna,f{index}.tif,0,1", f"actin,f{index}.tif,0,2"]
    path = write_manifest(tmp_path, "\n".join([HEADER, *rows]))

    collection = ManifestCollection(path, seed=5)

    assert collection.tasks == ("dna", "actin")
    sources: dict[str, dict[str, str]] = {}
    for task in collection.tasks:
        sizes = [
            len(collection.pairs(task, split)) for split in ("train", "valid", "test")
        ]
        assert sizes == [6, 1, 3]
        for split in ("train", "valid", "test"):
            for pair in collection.pairs(task, split):
                sources.setdefault(pair.row.signal_path.name, {})[task] = split
    assert all(sides["dna"] == sides["actin"] for sides in sources.values())
    again = ManifestCollection(path, seed=5).pairs("dna", "test")
    assert [p.name for p in again] == [p.name for p in collection.pairs("dna", "test")]


def test_rows_of_tasks_that_are_not_needed_are_left_alone(tmp_path):
    for index in range(8):
        write_field(tmp_path / f"f{index}.tif", (3, 2, 8, 8))
    images = [f"f{index}.tif" for index in range(8)]
    rows = [f"dna,{image},0,1" for image in images]
    others = [f"actin,{image},0,2" for image in [*images[:4], "not-here.tif"]]
    path = write_manifest(tmp_path, "\n".join([HEADER, *rows, *others]))
    with pytest.raises(UserError, match=r"not-here\.tif"):
        ManifestCollection(path)

    collection = ManifestCollection(path, tasks=["dna"])

    assert collection.tasks == ("dna",)
    (tmp_path / "not-here.tif").write_bytes((tmp_path / "f0.tif").read_bytes())
    everything = ManifestCollection(path)  # the other rows take part in the division
    assert [pair.name for pair in collection.pairs("dna", "test")] == [
        pair.name for pair in everything.pairs("dna", "test")
    ]


def test_an_unknown_task_lists_the_choices(one_file):
    path = write_manifest(one_file, f"{HEADER},split\ndna,a.ome.tif,0,1,train\n")

    with pytest.raises(UserError, match="no task 'actin' here; choose from dna"):
        ManifestCollection(path).pairs("actin", "train")


WRONG = [
    ("task,path,channel_signal", "dna,a.ome.tif,0", r"no column 'channel_target'"),
    ("path_signal,path_target", "a.ome.tif,a.ome.tif", r"no column 'task'"),
    (HEADER, "two words,a.ome.tif,0,1", r"row 2, column 'task': .*letters, digits"),
    (HEADER, "dna,a.ome.tif,1,DNA",
     r"'channel_target': '1': .*are the same channel"),
    (f"{HEADER},y0,y1", "dna,a.ome.tif,0,1,3,13",
     r"'y0, y1': '3, 13': use 0 <= y0 < y1 <= 12"),
    (f"{HEADER},y0,y1", "dna,a.ome.tif,0,1,5,5", r"'5, 5': use 0 <= y0 < y1 <= 12"),
    ("task,path_signal,path_target", "dna,a.ome.tif,thin.tif",
     r"row 2: .*shape.*: a\.ome\.tif \(4, 12, 10\), thin\.tif \(3, 12, 10\)"),
    ("task,path_signal,path_target", "dna,a.ome.tif,plane.tif",
     r"plane\.tif \(1, 12, 10\); a single plane is paired with a stack by"),
    ("task,path_signal,path_target", "dna,flat.tif,coarse.tif",
     r"row 2: flat\.tif says 0\.29 µm and coarse\.tif 0\.5 µm along x; .*_x_um"),
    ("task,path_signal,path_target", "dna,flat.tif,flat.tif", r"same channel"),
    (HEADER, "dna,unknown.tif,0,1",
     r"unknown\.tif has no voxel size along z in its metadata; fill.*voxel_size_z_um"
     + r".*set data\.source_voxel_size_um=\[z,y,x\].*--source-voxel-size Z Y X"),
    (f"{HEADER},split", "dna,a.ome.tif,0,1,train\ndna,a.ome.tif,0,1,test",
     r"row 3: a\.ome\.tif is in 'test' here and in 'train' in row 2"),
    (f"{HEADER},split", "dna,a.ome.tif,0,1,train\nactin,a.ome.tif,1,0,valid",
     r"'valid' here and in 'train' in row 2"),
    (f"{HEADER},split,z0,z1",
     "dna,a.ome.tif,0,1,train,0,3\ndna,a.ome.tif,0,1,test,2,4",
     r"give crops \(z0, z1, y0, y1, x0, x1\) that do not overlap"),
    ("task,path_signal,path_target,split", "dna,flat.tif,flat2.tif,train\n"
     "dna,flat3.tif,flat2.tif,test",
     r"flat2\.tif is in 'test' here and in 'train'"),
    (HEADER, "dna,a.ome.tif,0,1\ndna,b.ome.tif,0,1",
     r"has 2 source image.*3 or more"),
]  # fmt: skip


def test_what_is_wrong_is_told_before_pixels_are_read(one_file, monkeypatch):
    write_field(one_file / "thin.tif", (3, 12, 10))
    write_field(one_file / "plane.tif", (12, 10))
    for name in ("flat", "flat2", "flat3"):
        write_field(one_file / f"{name}.tif", (4, 12, 10))
    write_field(one_file / "coarse.tif", (4, 12, 10), **{**UM, "PhysicalSizeX": 0.5})
    write_field(one_file / "unknown.tif", PhysicalSizeY=0.29, PhysicalSizeX=0.29)
    (one_file / "notes.txt").write_text("notes")
    monkeypatch.setattr(tifffile.TiffFile, "asarray", None)

    for header, rows, message in WRONG:
        path = write_manifest(one_file, f"{header}\n{rows}\n")
        with pytest.raises(UserError, match=message) as caught:
            ManifestCollection(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_a_manifest_that_is_no_csv_text_is_named(tmp_path):
    for content in (b"", b"\n\n", b"\xff\xfe\x00", b'task\n"open'):
        (tmp_path / "m.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"m\.csv: "):
            ManifestCollection(tmp_path / "m.csv")
    with pytest.raises(UserError, match=r"n\.csv: no such file"):
        ManifestCollection(tmp_path / "n.csv")


def test_an_empty_crop_of_a_blank_image_is_named_on_loading(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((2, 4, 8, 8), np.uint8), ome=True,
        metadata={"axes": "CZYX", **UM},
    )  # fmt: skip
    path = write_manifest(tmp_path, f"{HEADER},split\ndna,a.tif,0,1,train\n")
    (pair,) = ManifestCollection(path).pairs("dna", "train")

    with pytest.raises(
        UserError, match=r"row 2: .*a\.tif, channel 0: .*constant volume"
    ):
        pair.load()


def test_a_time_point_and_a_scene_are_chosen_by_columns(tmp_path):
    counts = np.random.default_rng(0).integers(0, 4000, (2, 3, 2, 4, 12, 10), np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for scene in counts:  # two images of three time points
            tif.write(scene, photometric="minisblack", metadata={"axes": "TCZYX", **UM})
    header = f"{HEADER},split,time,scene"
    path = write_manifest(
        tmp_path,
        f"{header}\ndna,a.ome.tif,0,1,train,2,1\ndna,a.ome.tif,0,1,test,0,1\n",
    )

    collection = ManifestCollection(path, storage="float32")

    for split, time in (("train", 2), ("test", 0)):
        (pair,) = collection.pairs("dna", split)
        target = counts[1, time, 1].astype(np.float64)
        expected = (target - target.mean()) / target.std()
        np.testing.assert_allclose(pair.load().target, expected, atol=1e-5)
    write_manifest(tmp_path, f"{header}\ndna,a.ome.tif,0,1,train,,1\n")
    with pytest.raises(UserError, match=r"row 2: .*3 of 'time'; choose one: 0 to 2"):
        ManifestCollection(path)


def test_a_negative_seed_is_named(one_file):
    path = write_manifest(one_file, f"{HEADER}\ndna,a.ome.tif,0,1\n")

    with pytest.raises(UserError, match=r"data\.seed=-1: use 0 or more"):
        ManifestCollection(path, seed=-1)


def test_voxel_size_options_are_checked(tmp_path):
    for bad in ([0.29, 0.29], [0.29, 0, 0.29]):
        for option in ("voxel_size_um", "source_voxel_size_um"):
            with pytest.raises(UserError, match=rf"data\.{option}="):
                ManifestCollection(tmp_path / "m.csv", **{option: bad})


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real volumes here")
def test_real_fields_arrive_on_the_model_grid(tmp_path):
    fov = SHARED / "allen-fov-tuba1b" / "AICS-12_881_bf_seg.ome.tif"
    er = SHARED / "allen-fov-sec61b" / "AICS-10_5_5_bf_seg.ome.tif"
    path = write_manifest(
        tmp_path,
        f"{HEADER},split,y0,y1,z1\n"
        f"microtubule,{fov},brightfield,TUBA1B_segmentation,train,,150,12\n"
        f"microtubule,{fov},brightfield,TUBA1B_segmentation,test,150,,12\n"
        f"endoplasmic_reticulum,{er},0,1,test,,,12\n",
    )

    collection = ManifestCollection(path)

    (train,) = collection.pairs("microtubule", "train")
    (test,) = collection.pairs("microtubule", "test")
    (other,) = collection.pairs("endoplasmic_reticulum", "test")
    assert train.load().signal.shape == (12, 171, 345)
    assert test.load().signal.shape == (12, 62, 345)
    assert other.load().signal.shape == (12, 111, 69)
    for pair in (train, test, other):
        assert np.isfinite(pair.load().target).all()
        assert abs(pair.load().signal.mean()) < 0.1


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real volumes here")
def test_real_files_without_voxel_size_need_the_option(tmp_path):
    stem = SHARED / "fnet-dna" / "run_170622_174530_whole_cropped_"
    path = write_manifest(
        tmp_path,
        f"task,path_signal,path_target,split\ndna,{stem}light.tif,{stem}nuc.tif,train\n",
    )
    with pytest.raises(UserError, match=r"set data\.source_voxel_size_um"):
        ManifestCollection(path)

    collection = ManifestCollection(path, source_voxel_size_um=(0.29, 0.29, 0.29))

    (pair,) = collection.pairs("dna", "train")
    assert pair.load().target.shape == (32, 128, 128)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real volumes here")
def test_real_files_with_different_plane_counts_are_refused(tmp_path):
    folder = SHARED / "raj-fish"
    path = write_manifest(
        tmp_path,
        f"task,path_signal,path_target\ndna,{folder}/trans001.tiff,{folder}/dapi001.tiff\n",
    )

    with pytest.raises(
        UserError, match=r"trans001\.tiff \(5, 512, 512\), dapi001\.tiff \(6"
    ):
        ManifestCollection(path)
