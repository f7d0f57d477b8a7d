"""A table of two rows, killed in the middle and started again."""

import json
import time

import pytest

from continual_repmode.__main__ import main
from continual_repmode.experiments.tables import TABLES

TINY = [
    "data.num_train=2",
    "data.num_valid=1",
    "data.num_test=1",
    "data.shape=[8,16,16]",
    "data.patch_size=[8,16,16]",
    "model.width=2",
    "model.depth=1",
    "train.epochs=1",
    "train.extension_epochs=1",
    "device=cpu",
]
ROWS = ["multinet", "repmode"]


@pytest.fixture
def words(cells_cache):
    chosen = [f"rows={','.join(ROWS)}", f"data.cache_dir={cells_cache}"]
    return ["tables", "table3", *chosen, *TINY]


def records(folder):
    return sorted((folder / "results" / "runs").glob("*.json"))


def kill_when_two_are_done(process, folder):
    while process.poll() is None and len(records(folder)) < 2:
        time.sleep(0.05)
    time.sleep(0.5)
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_killed_and_started_again_it_goes_on(tmp_path, words, spawn, command):
    kill_when_two_are_done(spawn(*words, cwd=tmp_path), tmp_path)
    before = {path: path.read_bytes() for path in records(tmp_path)}
    assert len(before) in {2, 3}
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 3, done.stderr  # the other rows are missing
    assert len(records(tmp_path)) == 4  # two rows and their base runs
    for path, content in before.items():
        assert path.read_bytes() == content
    assert all(path.stat().st_size < 20_000 for path in records(tmp_path))
    table = (tmp_path / "results" / "table3.md").read_text()
    (frozen,) = (
        line
        for line in table.split("\n\nPaper (measured")[0].splitlines()
        if line.startswith("| Table 3 | RepMode, experts frozen |")
    )
    cells = [cell.strip() for cell in frozen.strip("|").split("|")]
    assert cells[8:10] == ["0", "0"]  # nothing is forgotten, exactly
    assert "- EWC (`ewc`), seed 0: not run yet" in table
    assert (tmp_path / "results" / "figures" / "table3.png").is_file()

    again = command(*words, cwd=tmp_path)
    assert again.stderr.splitlines()[0] == "2 of 2 runs are done"
    assert (tmp_path / "results" / "table3.md").read_text() == table


MISTAKES = [
    (["table9"], "there is no table 'table9': choose one of table1, table2"),
    (["table1", "rows=foo"], "rows=foo: table1 has the rows multinet"),
    (["table1", "seeds=one"], "seeds=one: give whole numbers"),
    (["table1", "seed=1"], "seed=1: give seeds=0,1,2"),
    (["table1", "run=maybe"], "run=maybe: must be true or false"),
    (["table1", "model=fnet"], "model=fnet: a table decides that for each"),
    (["table3", "base_model=x"], "base_model=x: a table decides that for each"),
    (["table1", "hydra.run.dir=x"], "run folders of tables are in runs/tables"),
    (["extensions", "strategy.expert=conv3"],
        "the rows gate_only and conv3_rank1 would be the same run"),
    (["table1", "costs=maybe"], "costs=maybe: must be keep or again"),
    (["table1", "train.epocs=1"], "did you mean train.epochs?"),
    (["table1", "row=repmode"], "there is no setting 'row': did you mean rows?"),
    (["table1", "foo=1"],
        "known are seeds, rows, run, costs, results, workers, scheduler and"),
    (["table3", "strategy=ewc"], "strategy=ewc: a table decides that for each"),
    (["table1", "train=tiny"], "train=tiny: choose one of mini, paper, quick"),
    (["table1", "hydra/launcher=joblib"],
        "hydra/launcher=joblib: runs of tables are shared out with workers=N or"),
]  # fmt: skip


def test_a_mistake_is_one_line_and_leaves_nothing_behind(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, message in MISTAKES:
        assert main(["tables", *words]) == 2, words
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
        assert message in error
        assert list(tmp_path.iterdir()) == []


def test_without_running_the_table_says_what_is_missing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["tables", "table2", "run=false", "seeds=0,1"]) == 3
    text = (tmp_path / "results" / "table2.md").read_text()
    assert text.count("seeds 0, 1: not run yet") == len(TABLES["table2"].rows)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_costs_of_a_finished_run_can_be_measured_again(
    capsys, tmp_path, monkeypatch, words
):
    monkeypatch.chdir(tmp_path)
    words = ["rows=multinet" if word.startswith("rows=") else word for word in words]
    assert main([*words, "run=true"]) in (0, 3)
    (path,) = (p for p in records(tmp_path) if '"base": null' not in p.read_text())
    before = json.loads(path.read_text())
    main([*words, "run=false", "costs=again"])
    after = json.loads(path.read_text())
    assert after["costs"].keys() == before["costs"].keys()
    assert after["costs"] != before["costs"]
    assert {**after, "costs": 0} == {**before, "costs": 0}


def test_a_place_that_cannot_hold_results_is_told_before_any_run(capsys, tmp_path):
    (tmp_path / "taken").write_text("a file")
    place = tmp_path / "taken" / "results"
    assert main(["tables", "table1", f"results={place}"]) == 2
    error = capsys.readouterr().err
    assert f"{place}/runs: Not a directory; name another place with results=" in error


def test_a_file_where_run_folders_go_is_told_before_the_table_is_written(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("a file")
    assert main(["tables", "table1"]) == 2
    assert "error: runs/tables: Not a directory; run folders" in capsys.readouterr().err
    assert not (tmp_path / "results" / "table1.md").exists()
