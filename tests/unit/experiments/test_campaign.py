"""Runs are found, done in order, tried again, and gone on with; with a made-up run."""

import re
from dataclasses import replace

import pytest
import torch

from continual_repmode.config.run import dump_run_config
from continual_repmode.errors import UserError
from continual_repmode.experiments.campaign import measure_again, run_missing
from continual_repmode.experiments.costs import Costs
from continual_repmode.experiments.planned import Places, plan
from continual_repmode.experiments.report import gather, write_table
from continual_repmode.experiments.table import Row, Table
from continual_repmode.workers import HERE

COMMON = ("train=mini", "model.width=2")
IMAGES = {
    task: {"a": 0.5, "b": 0.25}
    for task in ("nucleolus", "cell_membrane", "dna")  # what the made-up runs test
}


def joint(name, *settings):
    return Row(name=name, label=name, settings=("scenario=joint", *settings))


def later(name, *settings):
    return Row(
        name=name,
        label=name,
        settings=("scenario=incremental", *settings),
        base=("scenario=base_tasks", "strategy=naive"),
    )


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path / "results", tmp_path / "runs")


@pytest.fixture
def work(make_record):
    """A run that writes a network and made-up results, or fails if told to."""

    class Work:
        def __init__(self):
            self.done = []
            self.failing = set()

        def __call__(self, run, config, folder):
            self.done.append((run.label, config))
            if run.label in self.failing:
                raise UserError("no such thing")
            (folder.path / "output.txt").touch()
            folder.checkpoint(0).parent.mkdir(exist_ok=True)
            torch.save({}, folder.checkpoint(0))
            folder.config.write_text(dump_run_config(config))
            record = make_record(IMAGES, experiences=[list(IMAGES)], key=run.key)
            object.__setattr__(record, "settings", run.settings)
            return record

        @property
        def labels(self):
            return [label for label, _ in self.done]

    return Work()


def carry_out(rows, places, work, seeds=(0,)):
    planned = plan(rows, COMMON, seeds)
    run_missing([r for runs in planned.values() for r in runs], places, HERE, work)
    return planned


def test_every_row_is_run_for_every_seed_and_only_once(places, work):
    rows = [joint("a"), joint("b", "model=multinet", "strategy=naive")]
    carry_out(rows, places, work, seeds=(0, 1))
    assert work.labels == ["a", "a", "b", "b"]
    assert [config.seed for _, config in work.done] == [0, 1, 0, 1]
    assert {config.model.width for _, config in work.done} == {2}
    carry_out(rows, places, work, seeds=(0, 1, 2))
    assert work.labels[4:] == ["a", "b"]


def test_a_run_done_for_another_table_is_not_repeated(places, work):
    carry_out([joint("a", "seed=0")], places, work)
    carry_out([joint("other name", "device=cpu")], places, work)
    assert work.labels == ["a"]


def test_a_base_is_run_once_and_first_for_all_that_start_from_it(places, work):
    rows = [later("a"), joint("c"), later("b", "strategy=naive")]
    planned = carry_out(rows, places, work)
    assert work.labels == ["base of a", "c", "a", "b"]
    base = planned["a"][0].base
    for label, config in work.done:
        expected = str(places.base_model(base)) if label in "ab" else None
        assert config.base_model == expected
    assert planned["b"][0].base.key == base.key


def test_a_base_whose_network_is_gone_is_run_again_only_if_needed(places, work):
    planned = carry_out([later("a")], places, work)
    places.base_model(planned["a"][0].base).unlink()
    places.base_model(planned["a"][0].base).parent.rmdir()
    carry_out([later("a")], places, work)
    assert work.labels == ["base of a", "a"]
    carry_out([later("a"), later("b", "strategy=naive")], places, work)
    assert work.labels[2:] == ["base of b", "b"]


def test_a_base_killed_before_its_record_gets_one(places, work):
    planned = carry_out([later("a")], places, work)
    places.record(planned["a"][0].base).unlink()  # others had its network already
    carry_out([later("a")], places, work)
    assert work.labels == ["base of a", "a", "base of a"]
    assert places.find(planned["a"][0].base) is not None


def test_a_failed_run_does_not_stop_the_others_and_is_tried_again(places, work):
    work.failing = {"a"}
    rows = [joint("a"), joint("b", "strategy=naive")]
    planned = carry_out(rows, places, work)
    assert work.labels == ["a", "b"]
    (run,) = planned["a"]
    assert places.find(run) is None
    assert places.reason(run) == "failed: UserError: no such thing"
    assert "Traceback" in places.error(run).read_text()
    work.failing = set()
    carry_out(rows, places, work)
    assert work.labels == ["a", "b", "a"]
    assert places.find(run) is not None
    assert not places.error(run).exists()


def test_what_starts_from_a_failed_base_is_left_out_and_says_so(places, work):
    work.failing = {"base of a"}
    planned = carry_out([later("a")], places, work)
    assert work.labels == ["base of a"]
    expected = "its base run failed: UserError: no such thing"
    assert places.reason(planned["a"][0]) == expected


def test_an_interruption_keeps_what_is_done(places, work):
    class Interrupted:
        def __call__(self, run, config, folder):
            if run.label == "b":
                raise KeyboardInterrupt
            return work(run, config, folder)

    rows = [joint("a"), joint("b", "strategy=naive")]
    with pytest.raises(KeyboardInterrupt):
        carry_out(rows, places, Interrupted())
    planned = carry_out(rows, places, work)
    assert work.labels == ["a", "b"]
    assert all(places.find(runs[0]) for runs in planned.values())


def test_a_record_of_other_settings_is_not_taken(places, work):
    planned = carry_out([joint("a")], places, work)
    (run,) = planned["a"]
    record = places.find(run)
    record.settings["model.width"] = 16  # as if a default had changed since
    record.save(places.record(run))
    assert places.find(run) is None


@pytest.mark.parametrize("other", ["width: 3", "girth: 2"])
def test_a_folder_of_other_settings_is_not_gone_on_with(places, work, other):
    planned = carry_out([later("a")], places, work)
    (run,) = planned["a"]
    places.record(run).unlink()
    for kept in (run, run.base):  # as if a default had changed since
        config = places.folder(kept).config
        config.write_text(config.read_text().replace("width: 2", other))
        (places.folder(kept).path / "old results").touch()
    carry_out([later("a")], places, work)
    assert work.labels == ["base of a", "a"] * 2
    for made in (run, run.base):
        assert not (places.folder(made).path / "old results").exists()


def test_two_processes_do_not_carry_out_the_same_run(places, work, capsys):
    rows = [joint("a"), joint("b", "strategy=naive")]
    (run,) = plan(rows, COMMON, (0,))["a"]
    with places.lock(run):  # another process
        planned = carry_out(rows, places, work)
    assert work.labels == ["b"]
    assert "a, seed 0: left out, in use by another process" in capsys.readouterr().err
    assert places.reason(planned["a"][0]) == "not run yet"
    carry_out(rows, places, work)
    assert work.labels == ["b", "a"]


def test_a_run_that_another_process_has_done_meanwhile_is_not_repeated(places, work):
    rows = [joint("a"), joint("b", "strategy=naive")]
    (b,) = plan(rows, COMMON, (0,))["b"]

    def meanwhile(run, config, folder):
        record = work(run, config, folder)
        replace(record, key=b.key, settings=b.settings).save(places.record(b))
        return record

    carry_out(rows, places, meanwhile)
    assert work.labels == ["a"]
    assert places.find(b) is not None


def test_a_damaged_record_is_told(places, work):
    planned = carry_out([joint("a")], places, work)
    places.record(planned["a"][0]).write_text("{}")
    with pytest.raises(UserError, match="no record of a run"):
        places.find(planned["a"][0])


def test_a_record_of_an_earlier_version_has_no_validation_error(places, work):
    (run,) = carry_out([joint("a")], places, work)["a"]
    lines = places.record(run).read_text().splitlines()
    lines = [line for line in lines if "valid_mse" not in line]
    places.record(run).write_text("\n".join(lines).replace(",\n}", "\n}"))
    assert places.find(run).valid_mse is None


def test_progress_says_which_run_of_how_many(places, work, capsys):
    carry_out([later("a"), joint("b")], places, work)
    lines = re.sub(r"\d+ min", "N min", capsys.readouterr().err).splitlines()
    assert lines == [
        "0 of 2 runs are done",
        "run 1 of 3: base of a, seed 0",
        "run 2 of 3, about N min left: b, seed 0",
        "run 3 of 3, about N min left: a, seed 0",
    ]


def test_costs_are_measured_again_where_the_folder_of_a_finished_run_is(
    places, work, capsys
):
    planned = carry_out([joint("a"), joint("b", "strategy=naive")], places, work)
    (a,), (b,) = planned["a"], planned["b"]
    places.folder(b).config.unlink()
    new = Costs(step_s=0.5, step_bytes=7, volume_s=0.25)
    missing = plan([joint("c", "seed=1")], COMMON, (1,))["c"]

    measure_again(
        [a, b, *missing], places, lambda record, _: record.with_costs(new, "cpu")
    )

    assert places.find(a).costs == {"step_s": 0.5, "step_bytes": 7, "volume_s": 0.25}
    assert places.find(b).costs != places.find(a).costs
    told = capsys.readouterr().err
    assert "costs of a, seed 0" in told
    assert f"b, seed 0: its folder {places.folder(b).path} is gone" in told


def test_costs_that_cannot_be_measured_do_not_stop_the_others(places, work, capsys):
    planned = carry_out([joint("a"), joint("b", "strategy=naive")], places, work)
    (a,), (b,) = planned["a"], planned["b"]
    new = Costs(step_s=0.5, step_bytes=7, volume_s=0.25)

    def measure(record, folder):
        if record.key == a.key:
            raise UserError("its base is gone")
        return record.with_costs(new, "cpu")

    measure_again([a, b], places, measure)
    assert places.find(b).costs["step_s"] == 0.5
    told = capsys.readouterr().err
    assert "a, seed 0: costs not measured: UserError: its base is gone" in told


def test_a_setting_that_makes_rows_the_same_is_refused():
    rows = [
        Row(
            name=kind,
            label=kind,
            settings=("strategy=repmode", f"strategy.expert={kind}"),
        )
        for kind in ("conv1", "conv3")
    ]
    with pytest.raises(UserError, match=r"expert=conv5: .* conv1 and conv3 would be"):
        plan(rows, ["strategy.expert=conv5"], [0])


def test_a_mistyped_setting_is_one_line(places, work):
    with pytest.raises(UserError, match=r"did you mean model\.width"):
        plan([joint("a")], ["model.wdith=2"], (0,))


def test_a_table_is_written_from_what_is_there(places, work):
    table = Table(
        name="mine",
        title="Mine",
        about="About it.",
        rows=(later("a"), later("b", "strategy=naive")),
        reference="a",
        layout="stream",
        picture="forgetting",
    )
    planned = plan(table.rows, COMMON, (0, 1))
    run_missing(planned["a"], places, HERE, work)
    measured = gather(table, planned, COMMON, places)
    assert measured.tasks == ("nucleolus", "cell_membrane")
    assert [len(found.records) for found in measured.rows] == [2, 0]
    assert dict(measured.rows[1].missing) == {0: "not run yet", 1: "not run yet"}
    files = write_table(measured, places.results)
    assert [str(file.relative_to(places.results)) for file in files] == [
        "mine.md",
        "mine.csv",
        "figures/mine.png",
    ]
    assert all(file.stat().st_size > 100 for file in files)
