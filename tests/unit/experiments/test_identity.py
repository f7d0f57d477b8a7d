"""The hash of a run: the same for the same results, another for others."""

import pytest

from continual_repmode.compose import compose_runs
from continual_repmode.experiments.identity import (
    default_settings,
    resolved_settings,
    run_key,
    same_settings,
)

START = ("train=mini", "scenario=incremental", "strategy=repmode_paper", "seed=3")


def keys_of(*runs):
    """The hashes of runs with these overrides, composed together."""
    configs = compose_runs([(*START, *overrides) for overrides in runs])
    return [run_key(resolved_settings(c), default_settings(c), None) for c in configs]


def key_of(*overrides, base=None):
    (config,) = compose_runs([(*START, *overrides)])
    return run_key(resolved_settings(config), default_settings(config), base)


@pytest.fixture(scope="module")
def key():
    return key_of()


def test_the_hash_stays_as_it_is(key):
    """Records are found by it: a change of this value makes all of them useless."""
    assert key == "c88a3fe3f29fb136"
    assert (
        key_of("scenario=joint", "strategy=naive", "model=multinet")
        == "08f8eeefd3624baa"
    )


def test_where_and_how_it_is_computed_does_not_matter(key):
    overrides = (
        "device=cpu",
        "train.save_every=5",
        "data.cache_dir=/elsewhere",
        "reference=some/run",
        "base_model=some/where.safetensors",
        "scenario.name=other",
        "scenario.description=other",
    )
    found = keys_of(*((override,) for override in overrides))
    assert dict(zip(overrides, found, strict=True)) == dict.fromkeys(overrides, key)


def test_what_changes_results_changes_the_hash(key):
    overrides = (
        "seed=4",
        "model.width=4",
        "model.experts=[conv3]",
        "train.epochs=13",
        "train.precision=bfloat16",
        "train.num_workers=3",
        "train.loss=mae_ssim",
        "train.ema=0.99",
        "train.mixing=balanced",
        "data.sampling=foreground",
        "data.rotation=any",
        "data.noise=0.1",
        "data.num_train=9",
        "data.num_new=2",
        "data.seed=1",
        "strategy=naive",
        "strategy.gate_init=uniform",
        "scenario=one_by_one",
    )
    found = keys_of(*((override,) for override in overrides))
    for override, other in zip(overrides, found, strict=True):
        assert other != key, override
    assert len(set(found)) == len(found)


def test_the_network_that_a_run_starts_from_is_part_of_it(key):
    assert len({key, key_of(base="abc"), key_of(base="abd")}) == 3


def test_a_setting_left_at_its_default_does_not_matter(key):
    assert key_of("strategy.expert=conv3", "data.num_new=null") == key
    assert key_of("train.ema=0", "train.loss=mse", "data.rotation=none") == key


def test_the_stream_counts_and_not_how_it_is_written():
    moved = key_of("scenario=leave_one_out", "scenario.new_task=dna")
    (config,) = compose_runs(
        [(*START, "scenario=leave_one_out", "scenario.new_task=dna")]
    )
    written = str(config.stream().stream).replace("'", "").replace(" ", "")
    spelled = f"scenario.experiences={written}"
    assert key_of("scenario=leave_one_out", spelled, "scenario.new_task=null") == moved


def manifest_settings(folder, *overrides):
    manifest = f"data.manifest={folder / 'volumes.csv'}"
    (config,) = compose_runs([(*START, "data=manifest", manifest, *overrides)])
    return resolved_settings(config)


@pytest.fixture
def volumes(tmp_path):
    """Write a manifest of a file and a folder with some bytes each."""

    def write(name, voxels=b"voxels", task="dna"):
        folder = tmp_path / name
        (folder / "b.zarr").mkdir(parents=True)
        (folder / "a.tif").write_bytes(voxels)
        (folder / "b.zarr" / "0").write_bytes(2 * voxels)
        header = "task,path_signal,path_target"
        (folder / "volumes.csv").write_text(f"{header}\n{task},a.tif,b.zarr\n")
        return folder

    return write


def test_a_manifest_counts_by_its_text_wherever_it_is(volumes):
    def key(folder):
        return key_of("data=manifest", f"data.manifest={folder / 'volumes.csv'}")

    assert key(volumes("a")) == key(volumes("b")) != key(volumes("c", task="nucleolus"))


def test_other_volumes_behind_the_same_text_are_told_apart(volumes):
    raw, same = manifest_settings(volumes("raw")), manifest_settings(volumes("same"))
    assert same_settings(raw, same)
    longer = manifest_settings(volumes("longer", b"more voxels"))
    other = manifest_settings(volumes("other", b"VOXELS"))
    assert not same_settings(raw, longer)
    assert not same_settings(raw, other)
    moved = manifest_settings(volumes("moved"), f"data.root={volumes('x', b'VOXELS')}")
    assert same_settings(moved, other)


def test_without_the_volumes_the_text_is_enough(volumes):
    raw, gone = volumes("raw"), volumes("gone")
    (gone / "a.tif").unlink()
    assert same_settings(manifest_settings(raw), manifest_settings(gone))


def test_records_made_before_a_default_changed_are_not_taken():
    (config,) = compose_runs([START])
    now = resolved_settings(config)
    assert same_settings(now, now)
    assert same_settings({k: v for k, v in now.items() if k != "model.axes"}, now)
    assert not same_settings({**now, "model.axes": "YX"}, now)
