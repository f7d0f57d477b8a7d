from collections import Counter

import numpy as np
import pytest

from continual_repmode.allen.splits import (
    SPLITS,
    draw_dna,
    read_published_order,
    split_images,
)
from continual_repmode.errors import UserError


def names(dataset: str, number: int = 80) -> list[str]:
    order = np.random.default_rng(number).permutation(number)
    return [f"{dataset}_{index:02d}.czi" for index in order]


def lists_of(*datasets: str, number: int = 80):
    return {name: split_images(names(name, number)) for name in datasets}


def test_the_counts_are_the_papers():
    for number, counts in ((80, (54, 6, 20)), (51, (34, 4, 13)), (12, (8, 1, 3))):
        split = split_images(names("zo1", number))
        assert tuple(len(split[side]) for side in SPLITS) == counts
        everything = sorted(name for side in split.values() for name in side)
        assert everything == sorted(names("zo1", number))


@pytest.mark.parametrize("number", [80, 51])
def test_the_procedure_is_that_of_pandas_with_seed_42(number):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"image": names("zo1", number)})
    seed = np.random.RandomState
    shuffled = table.sample(frac=1, random_state=seed(42)).image.tolist()
    num_kept = round(0.75 * number)
    kept = pandas.DataFrame({"image": shuffled[:num_kept]})
    again = kept.sample(frac=1, random_state=seed(42)).image.tolist()
    num_train = round(0.9 * num_kept)

    split = split_images(names("zo1", number))

    assert split["test"] == shuffled[num_kept:]
    assert split["train"] == again[:num_train]
    assert split["valid"] == again[num_train:]


def test_the_dna_draw_is_that_of_pandas_with_seed_42():
    pandas = pytest.importorskip("pandas")
    lists = lists_of("actin", "fibrillarin", "tom20")
    drawn = draw_dna(lists, ["actin", "tom20"], 80)
    for split, number in zip(SPLITS, (54, 6, 20), strict=True):
        generator = np.random.RandomState(42)
        joined = [image for side in lists.values() for image in side[split]]
        table = pandas.DataFrame({"image": joined})
        table = table.sample(frac=1, random_state=generator)
        order = np.arange(len(joined))
        generator.shuffle(order)
        expected = [
            image
            for image in table.image.iloc[order]
            if not image.startswith("fibrillarin")
        ]
        assert [image for _, image in drawn[split]] == expected[:number]


def test_no_image_of_the_dna_task_changes_sides():
    lists = lists_of("actin", "fibrillarin", "tom20", "zo1")
    drawn = draw_dna(lists, ["actin", "tom20", "zo1"], 80)
    for split in SPLITS:
        assert all(image in lists[name][split] for name, image in drawn[split])
        assert max(Counter(drawn[split]).values()) == 1
    sources = {name for pairs in drawn.values() for name, _ in pairs}
    assert sources == {"actin", "tom20", "zo1"}


def test_dna_takes_what_there_is_of_too_few():
    drawn = draw_dna(lists_of("tom20", number=12), ["tom20"], 80)
    assert [len(drawn[split]) for split in SPLITS] == [8, 1, 3]


def test_another_order_is_another_division():
    forth, back = names("zo1"), names("zo1")[::-1]
    assert split_images(forth) == split_images(forth)
    assert set(split_images(forth)["test"]) != set(split_images(back)["test"])


def test_a_published_list_gives_the_order(tmp_path):
    (tmp_path / "zo1.csv").write_text(
        "path_czi,channel_signal\ndata/zo1/b.czi,6\ndata/zo1/a.czi,6\n"
    )
    assert read_published_order(tmp_path, "zo1") == ["b.czi", "a.czi"]


def test_what_is_no_published_list_is_refused(tmp_path):
    for text, problem in (
        (b"path\na.czi\n", "path_czi"),
        (b"path_czi\n", "names no images"),
        (b"", "names no images"),
        (b"path_czi\nx/a.czi\ny/a.czi\n", "names 'a.czi' twice"),
        (b"\xff\xfe\n", "not a CSV file"),
        (b"a,path_czi\nb\n", "not a CSV file"),
    ):
        (tmp_path / "zo1.csv").write_bytes(text)
        with pytest.raises(UserError, match=problem):
            read_published_order(tmp_path, "zo1")


def test_a_missing_list_says_which(tmp_path):
    with pytest.raises(UserError, match=r"zo1.csv: no such list"):
        read_published_order(tmp_path, "zo1")
