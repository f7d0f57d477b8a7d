import pytest

from continual_repmode.allen.catalog import choose_datasets
from continual_repmode.errors import UserError
from continual_repmode.manifests.manifest import ManifestCollection
from continual_repmode.models import RepModeUNet
from continual_repmode.paths import check_file_name
from continual_repmode.scenario import Scenario
from continual_repmode.tasks import (
    TASKS,
    check_task_name,
    display_name,
    meant_task,
)


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


@pytest.mark.parametrize("name", ["con", "NUL", "aux", "Com1", "lpt9"])
def test_devices_of_windows_are_no_names(name):
    with pytest.raises(UserError, match="on Windows; choose another name"):
        check_task_name(name)
    assert check_task_name(f"{name}-2") == f"{name}-2"


def test_names_of_files_are_legal_everywhere():
    for name in ("a:b", "a/b", "a\\b", "what?", "end.", "end ", "", "aux.yaml", "\t"):
        with pytest.raises(UserError, match="the thing"):
            check_file_name(name, "the thing")
    assert check_file_name("Tag 1, größer.x", "the thing") == "Tag 1, größer.x"


def test_tasks_that_differ_by_case_only_are_refused_at_every_door(tmp_path):
    told = "'dna' and 'DNA' differ by case only"
    with pytest.raises(UserError, match=told):
        Scenario(name="x", experiences=[["dna"], ["DNA"]])
    net = RepModeUNet(("dna",), width=2, depth=1)
    with pytest.raises(UserError, match=told):
        net.add_task("DNA")
    (tmp_path / "a.csv").write_text(
        "task,path,channel_signal,channel_target\ndna,a.tif,0,1\nDNA,b.tif,0,1\n"
    )
    with pytest.raises(UserError, match=told):
        ManifestCollection(tmp_path / "a.csv", tasks=())


def test_names_for_people():
    assert display_name("nuclear_envelope") == "nuclear envelope"
    assert display_name("dna") == "DNA"
    assert display_name("golgi_apparatus-round") == "Golgi apparatus-round"
    assert display_name("lamin-b1_wt") == "lamin-b1 wt"


def test_a_task_is_found_as_it_is_printed_and_in_any_case():
    known = ("dna", "nuclear_envelope", "dna-round", "my_Cells")
    for said, meant in (
        *((display_name(task), task) for task in known),
        *(("Nuclear  Envelope", "nuclear_envelope"), ("MY CELLS", "my_Cells")),
        *(("gold", "gold"), ("all", "all"), ("nuclear-envelope", "nuclear-envelope")),
    ):
        assert meant_task(said, known) == meant
    assert meant_task("Dna", ("dna", "DNA")) == "Dna"
    assert [d.name for d in choose_datasets(["Golgi apparatus", "DNA"])] == [
        d.name for d in choose_datasets(["golgi_apparatus", "dna"])
    ]
