import pytest

from continual_repmode.files import replacing, write_whole


def test_the_file_appears_when_the_block_ends(tmp_path):
    file = tmp_path / "deep" / "x.txt"
    with replacing(file) as temporary:
        temporary.write_text("new")
        assert not file.exists()
        assert temporary.suffix == ".txt"
    assert file.read_text() == "new"
    assert [p.name for p in file.parent.iterdir()] == ["x.txt"]


def test_an_error_leaves_the_old_file_and_no_trace(tmp_path):
    file = tmp_path / "x.txt"
    file.write_text("old")

    def fail():
        with replacing(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_a_file_made_private_by_its_writer_gets_ordinary_permissions(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    with replacing(tmp_path / "x") as temporary:
        temporary.unlink()
        temporary.touch(mode=0o600)
    assert (tmp_path / "x").stat().st_mode == ordinary.stat().st_mode


def test_a_text_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "deep" / "file.txt"
    write_whole(file, "one\n")
    assert file.read_text() == "one\n"
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "\ud800")
    assert file.read_text() == "one\n"
    assert [p.name for p in file.parent.iterdir()] == ["file.txt"]
