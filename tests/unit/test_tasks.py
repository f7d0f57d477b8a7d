import pytest

from continual_repmode.errors import UserError
from continual_repmode.tasks import TASKS, check_task_name, display_name


def test_the_twelve_structures_of_table_1():
    assert len(set(TASKS)) == 12
    assert list(TASKS) == sorted(TASKS)
    assert all(check_task_name(task) == task for task in TASKS)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "../a", "-a", "a/b", "ä"])
def test_names_that_cannot_be_file_names_are_refused(name):
    with pytest.raises(UserError, match="letters, digits"):
        check_task_name(name)


@pytest.mark.parametrize("name", ["all", "closest", "fresh", "mean", "none", "uniform"])
def test_words_that_options_have_in_the_place_of_a_task_are_refused(name):
    with pytest.raises(UserError, match=f"choose another name, such as {name}_cells"):
        check_task_name(name)
    assert check_task_name(f"{name}_cells")


def test_names_for_people():
    assert display_name("nuclear_envelope") == "nuclear envelope"
    assert display_name("dna") == "DNA"
    assert display_name("golgi_apparatus-round") == "Golgi apparatus-round"
    assert display_name("lamin-b1_wt") == "lamin-b1 wt"
