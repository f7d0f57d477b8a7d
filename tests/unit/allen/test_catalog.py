import pytest

from continual_repmode.allen.catalog import (
    DATASETS,
    choose_datasets,
    datasets_of,
)
from continual_repmode.errors import UserError
from continual_repmode.tasks import TASKS


def test_every_task_has_its_data_set_and_dna_nine():
    own = [dataset.task for dataset in DATASETS]
    assert sorted([*own, "dna"]) == sorted(TASKS)
    assert len(datasets_of("dna")) == 9
    assert {d.name for d in DATASETS} - {d.name for d in datasets_of("dna")} == {
        "fibrillarin",
        "membrane_caax_63x",
    }


def test_tasks_and_data_sets_may_be_named_in_any_order():
    chosen = choose_datasets(["tom20", "nuclear_envelope", "mitochondria"])
    assert [dataset.name for dataset in chosen] == ["lamin_b1", "tom20"]
    assert choose_datasets([]) == DATASETS
    assert choose_datasets(["dna"]) == datasets_of("dna")


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(UserError, match=r"'golgi'.* golgi_apparatus.* st6gal1"):
        choose_datasets(["dna", "golgi"])
