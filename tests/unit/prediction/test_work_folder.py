import pytest

from continual_repmode.errors import UserError
from continual_repmode.prediction.work_folder import FOLDER, WorkFolder

RECIPE = {"tasks": ["dna"]}


@pytest.fixture
def work(tmp_path) -> WorkFolder:
    return WorkFolder(tmp_path / "day1" / "a.ome.zarr", tmp_path)


def test_notes_stay_for_a_call_of_the_same_recipe(work):
    with work.held(RECIPE):
        work.write_note("signal", {"mean": 1.0})
    with work.held(RECIPE):
        assert work.note("signal") == {"mean": 1.0}
    assert work.recipe == RECIPE


def test_another_recipe_begins_anew(work):
    with work.held(RECIPE):
        work.write_note("signal", {"mean": 1.0})
        (work.path / "output").mkdir()
    with work.held({"tasks": ["nucleolus"]}):
        assert work.note("signal") is None
        assert not (work.path / "output").exists()


def test_damaged_notes_count_as_missing(work):
    with work.held(RECIPE):
        for text in ("{", "[]"):
            (work.path / "signal.json").write_text(text)
            assert work.note("signal") is None


def test_two_processes_do_not_share_it(work):
    with (
        work.held(RECIPE),
        pytest.raises(UserError, match="another process"),
        work.held(RECIPE),
    ):
        pass


def test_the_last_one_removes_the_common_folder(work, tmp_path):
    other = WorkFolder(tmp_path / "b.ome.zarr", tmp_path)
    for folder in (work, other):
        with folder.held(RECIPE):
            pass

    work.remove()
    assert (tmp_path / FOLDER).is_dir()
    other.remove()
    assert list(tmp_path.iterdir()) == []
