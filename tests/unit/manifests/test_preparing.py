import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import tifffile

from continual_repmode.errors import Faults, UserError
from continual_repmode.manifests.manifest import ManifestCollection
from continual_repmode.manifests.preparing import measure_pairs, prepare_pairs
from continual_repmode.workers import Workers

UM = {"PhysicalSizeZ": 0.29, "PhysicalSizeY": 0.145, "PhysicalSizeX": 0.145}


def write_image(path: Path, seed: int, dtype: str = "uint16") -> None:
    rng = np.random.default_rng(seed)
    tifffile.imwrite(
        path, rng.integers(0, 200, (2, 4, 24, 20)).astype(dtype), ome=True,
        photometric="minisblack", metadata={"axes": "CZYX", **UM},
    )  # fmt: skip


@pytest.fixture
def manifest(tmp_path):
    """Return a manifest over four images of two channels."""
    lines = ["task,path,channel_signal,channel_target,split"]
    for index, split in enumerate(("train", "train", "valid", "test")):
        write_image(tmp_path / f"image{index}.ome.tif", index)
        lines.append(f"dna,image{index}.ome.tif,0,1,{split}")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def collect(manifest: Path, **settings: object) -> ManifestCollection:
    return ManifestCollection(manifest, cache_dir=manifest.parent / "store", **settings)


def pairs_of(collection: ManifestCollection) -> list:
    return [pair for pair, _ in collection.all_pairs()]


def entries(manifest: Path) -> dict[str, int]:
    """Return the prepared arrays on disk and when they were written."""
    store = manifest.parent / "store"
    return {path.name: path.stat().st_mtime_ns for path in store.rglob("*.npy")}


def test_preparing_again_writes_nothing(manifest):
    collection = collect(manifest)
    assert sum(pair.missing_bytes() for pair in pairs_of(collection)) == (
        4 * 2 * (4 * 12 * 10) * 2
    )

    collection.prepare()

    written = entries(manifest)
    assert len(written) == 8
    collect(manifest).prepare()
    assert entries(manifest) == written
    assert not list((manifest.parent / "store").rglob("*.lock"))


def test_several_processes_prepare_the_same_as_one(manifest):
    collect(manifest).prepare(workers=Workers(2))
    alone = ManifestCollection(manifest, cache_dir=manifest.parent / "other")

    for one, other in zip(pairs_of(collect(manifest)), pairs_of(alone), strict=True):
        np.testing.assert_array_equal(one.load().signal, other.load().signal)
        np.testing.assert_array_equal(one.load().target, other.load().target)


def test_a_changed_image_is_prepared_anew(manifest):
    collection = collect(manifest)
    collection.prepare()
    before = np.array(pairs_of(collection)[1].load().target)

    write_image(manifest.parent / "image1.ome.tif", seed=99)

    after = np.array(pairs_of(collect(manifest))[1].load().target)
    assert not np.array_equal(after, before)
    assert len(entries(manifest)) == 10


def test_a_changed_setting_is_prepared_anew(manifest):
    changes = (
        {},
        {"resize": "fast"},
        {"order": "resize_first"},
        {"storage": "float32"},
        {"voxel_size_um": (0.29, 0.29, 0.145)},
    )
    for number, change in enumerate(changes, start=1):
        collect(manifest, **change).prepare()
        assert len(entries(manifest)) == number * 8, change


def test_the_same_light_image_under_two_tasks_is_prepared_once(manifest):
    text = manifest.read_text()
    manifest.write_text(text + "nucleolus,image0.ome.tif,0,1,train\n")

    collect(manifest).prepare()

    assert len(entries(manifest)) == 8


def test_too_little_disk_is_told_before_any_work(manifest, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 999, 999))

    with pytest.raises(
        UserError,
        match=r"4 pairs needs 7\.68 kB, .* 999 bytes free.*data\.cache",
    ):
        collect(manifest).prepare()
    assert entries(manifest) == {}


def test_a_bad_image_is_named_and_the_others_stay_prepared(manifest):
    path = manifest.parent / "image2.ome.tif"
    blank = np.zeros((2, 4, 24, 20), np.uint16)
    tifffile.imwrite(path, blank, ome=True, metadata={"axes": "CZYX", **UM})

    with pytest.raises(
        UserError, match=r"row 4: .*image2\.ome\.tif, channel 0: .*const"
    ):
        collect(manifest).prepare()
    assert len(entries(manifest)) == 4


def test_measuring_collects_damaged_files_and_leaves_unusable_pairs_unprepared(
    manifest,
):
    folder = manifest.parent
    blank = np.zeros((2, 4, 24, 20), np.uint16)
    tifffile.imwrite(
        folder / "image2.ome.tif", blank, ome=True, metadata={"axes": "CZYX", **UM}
    )
    pairs = pairs_of(collect(manifest))
    content = (folder / "image3.ome.tif").read_bytes()
    (folder / "image3.ome.tif").write_bytes(content[:5000])
    faults = Faults()

    facts = measure_pairs(pairs, prepare=True, faults=faults)

    assert [fact is not None and fact.usable for fact in facts] == [
        True, True, False, False,
    ]  # fmt: skip
    assert facts[2] is not None
    assert "image3.ome.tif" in str(faults.found[0])
    assert len(faults.found) == 1
    assert len(entries(manifest)) == 4


def test_facts_are_remembered(manifest, monkeypatch):
    first = measure_pairs(pairs_of(collect(manifest)), prepare=False)
    monkeypatch.setattr("continual_repmode.manifests.pairs.measure_pair", None)

    assert measure_pairs(pairs_of(collect(manifest)), prepare=False) == first


def test_what_is_prepared_needs_no_disk(manifest, monkeypatch):
    monkeypatch.setattr("continual_repmode.volumes.store._SETTLED_S", -1.0)
    collect(manifest).prepare()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6, 0))

    prepare_pairs(pairs_of(collect(manifest)))
    (manifest.parent / "image0.ome.tif").touch()  # its content must be read again
    with pytest.raises(UserError, match=r"preparing 4 pairs needs 1\.92 kB"):
        prepare_pairs(pairs_of(collect(manifest)))


def test_padding_is_left_out_of_prepared_pairs(tmp_path, caplog):
    lines = ["task,path,channel_signal,channel_target,split"]
    rng = np.random.default_rng(0)
    for index, split in enumerate(("train", "valid", "test")):
        raw = rng.integers(500, 900, (2, 6, 40, 36)).astype("u2")
        raw[:, :, :, :9] = 0  # of both
        raw[0, :, 30:] = 0  # of the light alone: the target has values there
        raw[1, :1] = 0  # of the target alone
        tifffile.imwrite(
            tmp_path / f"image{index}.ome.tif", raw, ome=True,
            photometric="minisblack",
            metadata={"axes": "CZYX", **dict.fromkeys(UM, 0.29)},
        )  # fmt: skip
        lines.append(f"dna,image{index}.ome.tif,0,1,{split}")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")

    collection = collect(path, storage="float32")
    collection.prepare()

    assert "3 of 3 pairs have padding" in caplog.text
    for pair in pairs_of(collection):
        raw = pair.signal.read(), pair.target.read()
        light_hidden = raw[0] == 0
        hidden = light_hidden | (raw[1] == 0)
        loaded = pair.load()
        for volume, values, mask in zip(
            (loaded.signal, loaded.target), raw, (light_hidden, hidden), strict=True
        ):
            np.testing.assert_array_equal(np.isnan(volume), mask)
            known = values[~mask].astype(np.float64)
            expected = (known - known.mean()) / known.std()
            np.testing.assert_allclose(volume[~mask], expected, atol=1e-5)
        facts = pair.measure()
        assert facts.signal.padding == light_hidden.mean()
        assert facts.signal.minimum >= 500
        assert facts.target.mean == pytest.approx(raw[1][~hidden].mean())
