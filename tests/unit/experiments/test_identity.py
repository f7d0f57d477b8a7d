"""The hash of a run: the same for the same results, another for others."""

import pytest

from continual_repmode.compose import compose_runs
from continual_repmode.experiments.identity import (
    default_settings,
    resolved_settings,
    run_key,
    same_settings,
)

START = ("train=mini", "scenario=incremental", "seed=3")


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


@pytest.mark.parametrize(
    "override",
    [
        "device=cpu",
        "train.num_workers=3",
        "train.memory=2GB",
        "train.save_every=5",
        "data.cache_dir=/elsewhere",
        "reference=some/run",
        "base_model=some/where.safetensors",
        "scenario.name=other",
        "scenario.description=other",
    ],
)
def test_where_and_how_it_is_computed_does_not_matter(key, override):
    assert key_of(override) == key


@pytest.mark.parametrize(
    "override",
    [
        "seed=4",
        "model.width=4",
        "model.experts=[conv3]",
        "train.epochs=13",
        "train.precision=bfloat16",
        "data.num_train=9",
        "data.num_new=2",
        "data.seed=1",
        "strategy=naive",
        "strategy.gate_init=uniform",
        "scenario=one_by_one",
    ],
)
def test_what_changes_results_changes_the_hash(key, override):
    assert key_of(override) != key


def test_the_network_that_a_run_starts_from_is_part_of_it(key):
    assert len({key, key_of(base="abc"), key_of(base="abd")}) == 3


def test_a_setting_left_at_its_default_does_not_matter(key):
    assert key_of("strategy.expert=conv3", "data.num_new=null") == key


def test_the_stream_counts_and_not_how_it_is_written():
    moved = key_of("scenario=leave_one_out", "scenario.new_task=dna")
    (config,) = compose_runs(
        [(*START, "scenario=leave_one_out", "scenario.new_task=dna")]
    )
    written = str(config.stream().stream).replace("'", "").replace(" ", "")
    spelled = f"scenario.experiences={written}"
    assert key_of("scenario=leave_one_out", spelled, "scenario.new_task=null") == moved


def test_a_manifest_counts_by_its_content(tmp_path):
    def of(name, text):
        path = tmp_path / name
        path.write_text(text)
        return key_of("data=manifest", f"data.manifest={path}")

    assert of("a.csv", "rows") == of("b.csv", "rows") != of("c.csv", "other rows")


def test_records_made_before_a_default_changed_are_not_taken():
    (config,) = compose_runs([START])
    now = resolved_settings(config)
    assert same_settings(now, now)
    assert same_settings({k: v for k, v in now.items() if k != "model.axes"}, now)
    assert not same_settings({**now, "model.axes": "YX"}, now)
