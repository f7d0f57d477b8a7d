"""Tables from made-up records, with gaps."""

import csv
import io

import pytest

from continual_repmode.experiments.grids import aligned, overview
from continual_repmode.experiments.markdown import format_markdown
from continual_repmode.experiments.measured import Measured
from continual_repmode.experiments.paper import LABEL, TABLE_3
from continual_repmode.experiments.report import format_csv

OF_PAPER = "Paper (measured on data we do not have):"
STREAM = [["dna"], ["nucleolus"]]


def errors(mse):
    return {"dna": {"a": mse, "b": mse + 0.1}, "nucleolus": {"c": mse + 0.01}}


def grid_after(text, heading):
    """The cells of the first grid after a heading or other line."""
    lines = text.split(f"{heading}\n")[1].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    cells = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        cells.append([cell.strip() for cell in line.strip("|").split("|")])
    header, _, *rows = cells
    assert all(len(row) == len(header) for row in rows)
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.fixture
def joint(make_record, make_row, make_table, paper_row):
    rows = (
        make_row("plain", {s: make_record(errors(0.5 + s / 100)) for s in (0, 1, 2)}),
        make_row("ours", {s: make_record(errors(0.3 + s / 100)) for s in (0, 1)},
            missing={2: "failed: UserError: no such thing"}, paper=paper_row),
        make_row("absent", {}, missing=dict.fromkeys((0, 1, 2), "not run yet")),
    )  # fmt: skip
    return Measured(
        table=make_table(rows),
        rows=rows,
        tasks=("dna", "nucleolus"),
        settings=("train=mini",),
    )


def test_the_overview_has_means_spreads_gains_and_the_paper(joint):
    plain, ours = grid_after(format_markdown(joint), "All tasks")
    mean = (0.3 + 0.4 + 0.31) / 3 + 0.005
    assert ours["MSE"] == f"{mean:.4f} ± 0.0071"
    assert plain["MSE gain (%)"] == "0"
    assert float(ours["MSE gain (%)"].split()[0]) > 30
    assert ours["seeds"] == "2"
    (published,) = grid_after(format_markdown(joint), OF_PAPER)
    assert (published["row"], published["MSE"]) == ("Ours", "0.4956")
    assert published["R² gain (%)"] == "9.18"


def test_costs_are_parameters_time_and_memory(joint):
    _, ours = grid_after(format_markdown(joint), "Costs")
    assert ours["parameters"] == "1,234,567"
    assert ours["parameters of the last task"] == "4,321"
    assert ours["steps"] == "10"
    assert ours["s per step"] == "0.250 ± 0.000"
    assert ours["MB per step"].startswith("50")


def test_every_metric_has_a_table_per_task_and_the_papers_apart(joint):
    text = format_markdown(joint)
    for label, published in (("MSE", "0.1995"), ("MAE", "0.1682"), ("R²", "0.7997")):
        rows = grid_after(text, f"{label} of each task")
        assert [row["row"] for row in rows] == ["Plain", "Ours"]
        assert set(rows[0]) == {"row", "DNA", "nucleolus", "All"}
        of_this = text.split(f"## {label} of each task")[1]
        (ours,) = grid_after(of_this, OF_PAPER)
        assert (ours["row"], ours["nucleolus"]) == ("Ours", published)


def test_differences_are_told_in_words(joint):
    (ours,) = grid_after(format_markdown(joint), "Differences")
    assert ours["in words"] == "better, larger than its spread"
    assert ours["MSE difference"].startswith("-0.2000")
    assert ours["seeds of equal sign"] == "2 of 2"


def test_missing_runs_are_listed_with_the_reason_and_take_no_line_elsewhere(joint):
    shown, missing = format_markdown(joint).split("## Missing\n")
    assert "- Ours (`ours`), seed 2: failed: UserError: no such thing" in missing
    assert "- Absent (`absent`), seeds 0, 1, 2: not run yet" in missing
    assert "Absent" not in shown


def test_without_any_record_the_table_says_so(make_row, make_table):
    rows = (make_row("a", {}, missing={0: "not run yet"}),)
    measured = Measured(
        table=make_table(rows), rows=rows, tasks=("dna",), settings=("train=mini",)
    )
    assert "No run is done yet." in format_markdown(measured)


def test_a_stream_shows_new_tasks_and_forgetting(make_record, make_row, make_table):
    def record(mse, forgetting):
        return make_record(errors(mse), experiences=STREAM, forgetting=forgetting)

    rows = (
        make_row("frozen", {0: record(0.3, 0.0)}, paper=TABLE_3["repmode"]),
        make_row("naive", {0: record(0.4, 0.25)}, group="others"),
    )
    table = make_table(rows, layout="stream", picture="forgetting")
    text = format_markdown(
        Measured(table=table, rows=rows, tasks=("nucleolus",), settings=("train=mini",))
    )
    frozen, naive = grid_after(text, "New tasks, and what the earlier ones lost")
    assert frozen["forgetting MSE"] == "0"
    assert text.count("`train=mini`") == 1
    assert naive["forgetting MSE"] == "0.2500"
    assert frozen["nucleolus MSE"] == "0.3100"
    assert naive["forgetting MAE"] == "0.2500"
    assert frozen["all tasks MSE"] == f"{(0.3 + 0.4 + 0.31) / 3:.4f}"
    assert naive["group"] == "others"
    (published,) = grid_after(text, OF_PAPER)
    assert published["row"] == "Frozen"
    assert published["nucleolus MSE"] == "0.2052"


def test_a_task_that_was_learned_and_lost_again_shows_both(
    make_record, make_row, make_table
):
    record = make_record(
        errors(0.5) | {"cell_membrane": {"d": 0.7}},
        experiences=[["dna"], ["nucleolus"], ["cell_membrane"]],
        learned={"dna": 0.25, "nucleolus": 0.125},
        forgetting=0.3,
    )
    rows = (make_row("naive", {0: record}),)
    table = make_table(rows, layout="stream", picture="forgetting")
    measured = Measured(
        table=table, rows=rows, tasks=("nucleolus", "cell_membrane"), settings=()
    )
    (naive,) = grid_after(format_markdown(measured), "Right after learning")
    assert naive["nucleolus MSE when learned"] == "0.1250"
    assert naive["cell membrane MSE when learned"] == "0.7000"
    assert naive["forgetting MSE of the first tasks"] == "0.3000"
    (naive,) = grid_after(format_markdown(measured), "the earlier ones lost")
    assert naive["nucleolus MSE"] == "0.5100"
    numbers = csv.DictReader(io.StringIO(format_csv(measured)))
    found = {(row["task"], row["quantity"]): row["mean"] for row in numbers}
    assert float(found["nucleolus", "r2_when_learned"]) == pytest.approx(0.875)
    assert float(found["first", "mse_forgetting"]) == pytest.approx(0.3)
    (naive,) = grid_after(format_markdown(measured), "## Costs")
    added = 100 * 4321 / (1234567 - 2 * 4321)  # two tasks came later
    assert naive["% of the network before"] == f"{added:.2f}"


def test_on_the_terminal_columns_are_aligned(joint):
    header, *lines = aligned(overview(joint)).splitlines()
    assert [line.split()[0] for line in lines] == ["Plain", "Ours"]
    place = header.index("MSE")
    assert all(line[place - 1] == " " and line[place] != " " for line in lines)


def test_the_csv_holds_every_number_and_labels_the_papers(joint):
    rows = list(csv.DictReader(io.StringIO(format_csv(joint))))
    (found,) = (
        r
        for r in rows
        if (r["row"], r["task"], r["quantity"]) == ("ours", "nucleolus", "mse")
    )
    assert float(found["mean"]) == pytest.approx(0.315)
    assert float(found["spread"]) == pytest.approx(0.00707, abs=1e-4)
    assert found["num_seeds"] == "2"
    assert found[LABEL] == "0.1995"
    assert {r["row"] for r in rows} == {"plain", "ours"}


def test_transfer_is_a_matrix_of_known_and_new_structures(
    make_record, make_row, make_table
):
    alone = make_record({"nucleolus": {"n": 0.5}}, experiences=[["nucleolus"]])
    both = make_record(
        {"dna": {"d": 0.9}, "nucleolus": {"n": 0.3}},
        experiences=[["dna"], ["nucleolus"]],
    )
    rows = (make_row("scratch", {0: alone}), make_row("extended", {0: both}))
    table = make_table(rows, layout="transfer", picture="transfer")
    text = format_markdown(
        Measured(
            table=table, rows=rows, tasks=("dna", "nucleolus"), settings=("train=mini",)
        )
    )
    assert "| known \\ new | DNA | nucleolus |" in text
    assert "| DNA | - | 0.200 |" in text
    assert "Not enough is measured to relate gains to gates." in text


def test_choices_show_validation_alone_and_the_lowest_of_each_group(
    make_record, make_row, make_table
):
    def row(name, group, *by_seed):
        records = {
            seed: make_record(errors(0.5), valid_mse=found)
            for seed, found in enumerate(by_seed)
        }
        return make_row(name, records, group=group)

    rows = (
        row("small", "ours", [0.4], [0.5]),
        row("large", "ours", [None, 0.3, 0.5]),  # the first experience was adopted
        row("plain", "theirs", [0.6]),
        row("old", "theirs", None),  # of a version that did not keep it
    )
    table = make_table(rows, layout="choices", picture="choices")
    measured = Measured(table=table, rows=rows, tasks=(), settings=())
    text = format_markdown(measured)
    small, large, plain, old = grid_after(text, "Validation")
    assert small["validation MSE"] == "0.4500 ± 0.0707"
    assert large["validation MSE"] == "0.4000"
    assert [found["of its group"] for found in (small, large, plain, old)] == [
        "",
        "lowest",
        "lowest",
        "",
    ]
    assert old["validation MSE"] == "-"
    assert "Differences" not in text
    assert "0.51" not in text + format_csv(measured)  # nothing of test images
    assert "valid_mse,0.4" in format_csv(measured)


def test_growth_is_what_all_tasks_so_far_have_and_need(
    make_record, make_row, make_table
):
    record = make_record(
        errors(0.5) | {"cell_membrane": {"d": 0.7}},
        experiences=[["dna"], ["nucleolus"], ["cell_membrane"]],
        learned={"dna": 0.25, "nucleolus": 0.125},
        forgetting=0.3,
    )
    rows = (make_row("naive", {0: record}, group="a stream"),)
    table = make_table(rows, layout="growth", picture="growth")
    measured = Measured(table=table, rows=rows, tasks=(), settings=())
    text = format_markdown(measured)
    (found,) = grid_after(text, "From the first tasks to all")
    assert found["tasks"] == "1 to 3"
    assert found["R² of the first"] == "0.7500"
    assert found["R² of all"] == f"{1 - (0.55 + 0.51 + 0.7) / 3:.4f}"
    assert found["parameters at first"] == f"{1234567 - 2 * 4321:,}"
    assert found["parameters at the end"] == "1,234,567"
    (found,) = grid_after(text, "R² of all tasks so far, by their number: a stream")
    assert found["2"] == f"{1 - (0.25 + 0.125) / 2:.3f}"
    assert "first 2,r2_so_far,0.8125" in format_csv(measured)
