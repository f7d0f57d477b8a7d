"""The generated data source: stable pairs, a cache that is never stale."""

import json
import zlib

import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.synthetic import SyntheticCells, cache, simulate_field
from continual_repmode.synthetic.cache import PairCache, Recipe
from continual_repmode.synthetic.kinds import ROUND
from continual_repmode.workers import Workers

TINY = (8, 16, 16)
TASKS = ("dna", "nucleolus")


def _cells(folder, **changes) -> SyntheticCells:
    settings = {"shape": TINY, "tasks": TASKS, "cache_dir": folder} | changes
    return SyntheticCells(2, 1, 1, **settings)


def _words(recipe) -> list[int]:
    """What the seed of a field holds after that of the collection."""
    return [
        zlib.crc32(recipe.task.encode()),
        zlib.crc32(recipe.split.encode()),
        recipe.index,
    ]


def _bytes(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def no_simulation(monkeypatch):
    """Fail as soon as anything is simulated."""

    def refuse(*_):
        raise AssertionError("simulated a pair that was in the cache")

    return lambda: monkeypatch.setattr(cache, "simulate_field", refuse)


def test_collection_tells_its_tasks_splits_and_voxel_size(tmp_path):
    cells = _cells(tmp_path)
    assert cells.tasks == TASKS
    assert cells.voxel_size_um == (0.29, 0.29, 0.29)
    names = [
        pair.name
        for task in TASKS
        for split in ("train", "valid", "test")
        for pair in cells.pairs(task, split)
    ]
    assert len(names) == len(set(names)) == 8
    assert names[:2] == ["dna-train-000", "dna-train-001"]
    assert not list(tmp_path.iterdir())  # nothing is generated before it is needed


def test_loaded_pairs_are_z_scored_and_know_their_counts(tmp_path):
    pair = _cells(tmp_path).pairs("dna", "train")[0]
    loaded = pair.load()
    for volume, intensity in (
        (loaded.signal, loaded.signal_intensity),
        (loaded.target, loaded.target_intensity),
    ):
        assert volume.dtype == np.float32
        assert volume.shape == TINY
        assert abs(volume.mean()) < 1e-4
        assert volume.std() == pytest.approx(1, abs=1e-4)
        counts = volume * intensity.std + intensity.mean
        np.testing.assert_allclose(counts, np.rint(counts), atol=0.02)


def test_pairs_do_not_depend_on_the_order_of_generation(tmp_path):
    places = [(task, split) for task in TASKS for split in ("train", "test")]
    for name, order in (("a", places), ("b", places[::-1])):
        for task, split in order:
            _cells(tmp_path / name).pairs(task, split)[0].load()
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")


def test_processes_generate_the_same_bytes_as_one(tmp_path):
    for name, count in (("one", 1), ("two", 2)):
        cells = SyntheticCells(
            16, 0, 0, cache_dir=tmp_path / name, shape=TINY, tasks=("dna",)
        )
        cells.prepare(progress=False, workers=Workers(count))
    assert len(_bytes(tmp_path / "one")) == 48
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")


def test_prepared_pairs_are_not_generated_again(tmp_path, no_simulation):
    _cells(tmp_path).prepare()
    no_simulation()
    cells = _cells(tmp_path)
    cells.prepare()
    cells.pairs("dna", "test")[0].load()


def test_more_pairs_keep_those_already_there(tmp_path):
    _cells(tmp_path).prepare()
    before = _bytes(tmp_path)
    SyntheticCells(3, 1, 1, shape=TINY, tasks=TASKS, cache_dir=tmp_path).prepare()
    after = _bytes(tmp_path)
    assert len(after) == len(before) + 6
    assert {name: after[name] for name in before} == before


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "changed": lambda path: path.write_bytes(path.read_bytes()[:-5] + b"12345"),
    "nonsense": lambda path: path.write_bytes(b"\xff\xfe nonsense"),
}


@pytest.mark.parametrize("ending", ["-light.npy", "-fluorescence.npy", ".json"])
def test_unusable_files_are_generated_again(tmp_path, ending):
    pair = _cells(tmp_path).pairs("dna", "train")[0]
    expected = pair.load()
    before = _bytes(tmp_path)
    (path,) = tmp_path.glob(f"*{ending}")
    for name, damage in DAMAGES.items():
        damage(path)
        assert np.array_equal(pair.load().signal, expected.signal), name
        assert _bytes(tmp_path) == before, name


def test_changed_settings_never_meet_a_stale_pair(tmp_path):
    _cells(tmp_path).pairs("dna", "train")[0].load()
    for changes in ({"seed": 1}, {"shape": (8, 16, 18)}, {"voxel_size_um": 0.3}):
        pair = _cells(tmp_path, **changes).pairs("dna", "train")[0]
        assert not pair.cache.has(pair.recipe), changes
        elsewhere = _cells(tmp_path / "fresh", **changes).pairs("dna", "train")[0]
        assert np.array_equal(pair.load().target, elsewhere.load().target)


def test_a_new_simulator_version_never_meets_a_stale_pair(tmp_path):
    settings = ("dna", "train", 0, 0, TINY, 0.29)
    pairs = PairCache(tmp_path)
    pairs.store(Recipe(*settings))
    assert pairs.has(Recipe(*settings))
    assert not pairs.has(Recipe(*settings, version=cache.SIMULATOR_VERSION + 1))


def test_a_note_for_another_recipe_is_not_believed(tmp_path):
    pairs, recipe = PairCache(tmp_path), Recipe("dna", "train", 0, 0, TINY, 0.29)
    pairs.store(recipe)
    (path,) = tmp_path.glob("*.json")
    note = json.loads(path.read_text())
    note["recipe"]["seed"] = 5
    path.write_text(json.dumps(note))
    assert not pairs.has(recipe)


def test_preparing_is_quiet_and_leaves_three_files_for_each_pair(tmp_path, capsys):
    cells = _cells(tmp_path)
    cells.prepare(progress=True)
    assert capsys.readouterr() == ("", "")
    assert len(list(tmp_path.iterdir())) == 8 * 3
    assert not list(tmp_path.glob(".*"))
    lights = {
        pair.load().signal.tobytes()
        for task in TASKS
        for split in ("train", "valid", "test")
        for pair in cells.pairs(task, split)
    }
    assert len(lights) == 8  # every pair shows different cells


def test_unwritable_cache_folder_names_the_option(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    pair = _cells(in_the_way).pairs("dna", "train")[0]
    with pytest.raises(UserError, match=r"data\.cache_dir") as error:
        pair.load()
    assert str(in_the_way) in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_out_of_range_are_refused(tmp_path):
    for changes, message in (
        ({"tasks": ("centrosome",)}, "centrosome.*choose from"),
        ({"shape": (4, 16, 16)}, r"shape.*\(4, 16, 16\)"),
        ({"shape": (16, 16)}, "shape"),
        ({"seed": -1}, "seed.*-1"),
        ({"voxel_size_um": 0.0}, "voxel_size_um.*0.0"),
    ):
        with pytest.raises(UserError, match=message):
            _cells(tmp_path, **changes)
    with pytest.raises(UserError, match="num_valid must be 0 or more, got -1"):
        SyntheticCells(1, -1, 1)


def test_absent_tasks_and_splits_are_refused(tmp_path):
    cells = _cells(tmp_path)
    with pytest.raises(UserError, match=r"mitochondria.*there are dna, nucleolus"):
        cells.pairs("mitochondria", "train")
    with pytest.raises(UserError, match=r"split must be one of.*'training'"):
        cells.pairs("dna", "training")


def test_a_hyphen_and_a_kind_after_a_structure_mean_other_cells(tmp_path):
    cells = _cells(tmp_path, tasks=("dna", "dna-round"))
    here, there = (cells.pairs(task, "train")[0].recipe for task in cells.tasks)
    light, dna = simulate_field([0, *_words(there)], TINY, "dna", 0.29, ROUND)
    for expected, found in zip((light, dna), there.generate(), strict=True):
        assert np.array_equal(expected, found)
    assert here.key != there.key
    with pytest.raises(UserError, match=r"'dna-flat': after a hyphen .*, round; "):
        _cells(tmp_path, tasks=("dna-flat",))
    with pytest.raises(UserError, match=r"'soma-round'; choose from actin_filament"):
        _cells(tmp_path, tasks=("soma-round",))
