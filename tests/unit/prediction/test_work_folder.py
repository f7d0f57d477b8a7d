import pytest

from continual_repmode.errors import UserError
from continual_repmode.prediction.work_folder import FOLDER, WorkFolder

PROVENANCE = {"tasks": ["dna"]}


@pytest.fixture
def work(tmp_path) -> WorkFolder:
    return WorkFolder(tmp_path / "day1" / "a.ome.zarr", tmp_path)


def test_notes_stay_for_a_call_of_the_same_provenance(work):
    with work.held(PROVENANCE):
        work.write_note("signal", {"mean": 1.0})
    with work.held(PROVENANCE):
        assert work.note("signal") == {"mean": 1.0}
    assert work.provenance == PROVENANCE


def test_another_provenance_begins_anew(work):
    with work.held(PROVENANCE):
        work.write_note("signal", {"mean": 1.0})
        (work.path / "output").mkdir()
    with work.held({"tasks": ["nucleolus"]}):
        assert work.note("signal") is None
        assert not (work.path / "output").exists()


def test_damaged_notes_count_as_missing(work):
    with work.held(PROVENANCE):
        for text in ("{", "[]"):
            (work.path / "signal.json").write_text(text)
            assert work.note("signal") is None


def test_two_processes_do_not_share_it(work):
    with (
        work.held(PROVENANCE),
        pytest.raises(UserError, match="another process"),
        work.held(PROVENANCE),
    ):
        pass


def test_one_that_comes_while_the_other_ends_leaves_nothing_behind(work, tmp_path):
    with work.held(PROVENANCE):
        work.remove()
        with pytest.raises(UserError, match="another process"), work.held(PROVENANCE):
            pass
    assert list(tmp_path.rglob("*")) == []


def test_the_last_one_removes_the_common_folder(work, tmp_path):
    other = WorkFolder(tmp_path / "b.ome.zarr", tmp_path)
    for folder in (work, other):
        with folder.held(PROVENANCE):
            pass

    work.remove()
    assert (tmp_path / FOLDER).is_dir()
    other.remove()
    assert list(tmp_path.iterdir()) == []
