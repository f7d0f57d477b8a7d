"""Means, spreads and paired differences, against scipy."""

import numpy as np
import pytest
from scipy import stats

from continual_repmode.experiments.comparisons import (
    Transfer,
    gain_percent,
    paired_difference,
    rank_correlation,
    transfers,
)
from continual_repmode.experiments.summary import Value


def images(rng, offset=0.0):
    """Random errors of 2 tasks with 7 and 4 images."""
    return {
        "dna": {f"d{i}": float(rng.random() + offset) for i in range(7)},
        "nucleolus": {f"n{i}": float(rng.random() + offset) for i in range(4)},
    }


def flat(record):
    return np.array([*record.images["dna"]["mse"], *record.images["nucleolus"]["mse"]])


def test_a_value_is_mean_and_sample_standard_deviation():
    values = [0.1, 0.4, 0.7, None]
    found = Value.of(values)
    assert found.mean == pytest.approx(np.mean(values[:3]))
    assert found.spread == pytest.approx(np.std(values[:3], ddof=1))
    assert Value.of([0.5]) == Value(0.5, None)
    assert Value.of([None]) is None


def test_one_seed_is_a_paired_t_test_over_images(make_record, make_row):
    rng = np.random.default_rng(0)
    one, two = make_record(images(rng, 0.2)), make_record(images(rng))
    found = paired_difference(make_row("a", {0: one}), make_row("b", {0: two}), "mse")
    expected = stats.ttest_rel(flat(one), flat(two))
    assert found.mean / found.error == pytest.approx(expected.statistic)
    assert found.error == pytest.approx(stats.sem(flat(one) - flat(two)))
    assert found.seed_spread is None
    assert (found.num_images, found.num_seeds, found.num_same_sign) == (11, 1, 1)


def test_seeds_are_paired_and_images_averaged_over_them(make_record, make_row):
    rng = np.random.default_rng(1)
    a = {seed: make_record(images(rng)) for seed in (0, 1, 2)}
    b = {seed: make_record(images(rng)) for seed in (1, 2, 3)}
    found = paired_difference(make_row("a", a), make_row("b", b), "mse")
    differences = np.array([flat(a[seed]) - flat(b[seed]) for seed in (1, 2)])
    assert found.num_seeds == 2
    assert found.mean == pytest.approx(differences.mean())
    assert found.error == pytest.approx(stats.sem(differences.mean(axis=0)))
    expected = np.std(differences.mean(axis=1), ddof=1)
    assert found.seed_spread == pytest.approx(expected)


def test_only_some_tasks_can_be_compared(make_record, make_row):
    rng = np.random.default_rng(2)
    one, two = make_record(images(rng)), make_record(images(rng))
    rows = make_row("a", {0: one}), make_row("b", {0: two})
    found = paired_difference(*rows, "mse", ["nucleolus"])
    assert found.num_images == 4
    assert found.mean == pytest.approx((flat(one) - flat(two))[7:].mean())


def test_a_difference_counts_if_all_seeds_agree_and_it_exceeds_both_spreads(
    make_record, make_row
):
    def row(name, offsets):
        base = images(np.random.default_rng(3))
        shifted = {
            seed: {t: {i: v + offset for i, v in f.items()} for t, f in base.items()}
            for seed, offset in enumerate(offsets)
        }
        return make_row(name, {s: make_record(found) for s, found in shifted.items()})

    reference = row("b", [0.0, 0.0, 0.0])

    def verdict(*offsets):
        found = paired_difference(row("a", offsets), reference, "mse")
        return found.is_larger_than_spread

    assert verdict(0.10, 0.11, 0.12)
    assert verdict(-0.10, -0.11, -0.12)
    assert not verdict(0.10, 0.11, -0.01)  # signs
    assert not verdict(0.01, 0.02, 0.40)  # spread over seeds
    assert not verdict(0.0, 0.0, 0.0)


def test_noise_over_images_is_no_difference(make_record, make_row):
    rng = np.random.default_rng(4)
    rows = [make_row(n, {0: make_record(images(rng))}) for n in "ab"]
    assert not paired_difference(*rows, "mse").is_larger_than_spread


def test_nothing_in_common_gives_no_difference(make_record, make_row):
    record = make_record(images(np.random.default_rng(5)))
    rows = make_row("a", {0: record}), make_row("b", {1: record})
    assert paired_difference(*rows, "mse") is None
    assert gain_percent(*rows, "mse", -1) is None


def test_the_gain_is_positive_where_the_error_is_lower(make_record, make_row):
    def row(name, value):
        found = {t: {"i": value, "j": value} for t in ("dna", "nucleolus")}
        return make_row(name, {0: make_record(found)})

    better, reference = row("a", 0.4), row("b", 0.5)
    assert gain_percent(better, reference, "mse", -1).mean == pytest.approx(20)
    assert gain_percent(better, reference, "r2", 1).mean == pytest.approx(20)
    assert gain_percent(reference, reference, "mse", -1).mean == 0


def test_transfer_is_the_gain_over_learning_alone_seed_by_seed(make_record, make_row):
    def alone(mse):
        return make_record({"nucleolus": {"n": mse}}, experiences=[["nucleolus"]])

    def after_dna(mse, distance):
        return make_record(
            {"dna": {"d": 0.9}, "nucleolus": {"n": mse}},
            experiences=[["dna"], ["nucleolus"]],
            gate_distances={"dna nucleolus": distance},
        )

    rows = (
        make_row("scratch", {0: alone(0.5), 1: alone(0.7)}),
        make_row("extended", {0: after_dna(0.4, 0.1), 1: after_dna(0.5, 0.3)}),
    )
    (found,) = transfers(rows)
    assert (found.known, found.new) == ("dna", "nucleolus")
    assert found.gain.mean == pytest.approx((0.1 + 0.2) / 2)
    assert found.gate_distance.mean == pytest.approx(0.2)
    assert transfers(rows[1:]) == []


def test_gains_and_gates_are_related_by_ranks():
    gains, distances = [0.3, 0.1, 0.2, -0.1], [0.02, 0.5, 0.3, 0.4]
    compared = [
        Transfer(known="a", new="b", gain=Value(g, None), gate_distance=Value(d, None))
        for g, d in zip(gains, distances, strict=True)
    ]
    expected = stats.spearmanr(gains, distances).statistic
    assert rank_correlation(compared) == pytest.approx(expected)
    assert rank_correlation(compared[:2]) is None
