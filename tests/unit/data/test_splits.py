from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continual_repmode.data.splits import split_counts, split_sources
from continual_repmode.errors import UserError


def images(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{index:03d}.tif" for index in range(count)]


def test_counts_of_the_paper_and_of_small_sets():
    for num_images, *counts in (
        *((80, 54, 6, 20), (51, 34, 4, 13), (3, 1, 1, 1), (4, 2, 1, 1), (10, 6, 1, 3)),
    ):
        expected = dict(zip(("train", "valid", "test"), counts, strict=True))
        assert split_counts(num_images) == expected
        sides = split_sources({"dna": images("a", num_images)})
        assert Counter(sides.values()) == expected


@given(st.integers(3, 300))
def test_every_image_goes_somewhere_and_no_side_is_empty(num_images):
    counts = split_counts(num_images)
    assert sum(counts.values()) == num_images
    assert min(counts.values()) >= 1


def test_the_seed_decides_and_the_order_of_the_list_does_not():
    names = images("a", 40)
    split = split_sources({"dna": names}, seed=1)

    assert split_sources({"dna": names[::-1] + names[:5]}, seed=1) == split
    assert split_sources({"dna": names}, seed=2) != split
    assert [split[name] for name in names] != sorted(split.values())


def test_a_task_with_images_of_its_own_moves_no_other_image():
    alone = split_sources({"dna": images("a", 30)}, seed=3)
    together = split_sources({"actin": images("b", 10), "dna": images("a", 30)}, seed=3)

    assert {name: together[name] for name in alone} == alone


def test_an_image_of_two_tasks_has_one_side_and_quotas_are_kept_around_it():
    shared = images("s", 20)
    sides = split_sources({"dna": shared + images("a", 60), "golgi": shared}, seed=4)

    assert Counter(sides[name] for name in shared) == split_counts(20)
    assert Counter(sides.values()) == split_counts(80)


@given(st.integers(0, 50), st.integers(3, 12), st.integers(0, 12), st.integers(3, 12))
def test_whatever_tasks_share_each_gets_all_three_sides(seed, only_a, shared, only_b):
    both = images("s", shared)
    sources = {"a": images("a", only_a) + both, "b": both + images("b", only_b)}

    sides = split_sources(sources, seed=seed)

    for names in sources.values():
        assert {sides[name] for name in names} == {"train", "valid", "test"}


def test_too_few_images_say_how_many_are_needed():
    with pytest.raises(UserError, match=r"'dna' has 2 source image.*needs 3 or more"):
        split_sources({"dna": images("a", 2)})


def test_a_task_whose_shared_images_all_lie_on_other_sides_is_refused():
    lists = {
        "a": images("a", 3),
        "b": images("b", 3),
        "c": images("c", 3),
    }
    sides = split_sources(lists)
    tested = [name for name, side in sides.items() if side == "test"]

    with pytest.raises(UserError, match=r"'zz' shares its images.*none for 'valid'"):
        split_sources({**lists, "zz": tested})
