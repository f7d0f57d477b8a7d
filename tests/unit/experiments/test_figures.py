"""Every kind of table has a figure once something of it is measured."""

import pytest

from continual_repmode.analysis._figure import BLUE, ORANGE
from continual_repmode.experiments.figures import draw
from continual_repmode.experiments.measured import Measured

STREAM = [["dna"], ["nucleolus"]]
IMAGES = {"dna": {"a": 0.3, "b": 0.4}, "nucleolus": {"c": 0.5}}


def texts(figure):
    figure.draw_without_rendering()
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [label.get_text() for a in figure.axes for label in a.get_yticklabels()]
    found += [label.get_text() for a in figure.axes for label in a.get_xticklabels()]
    found += [t.get_text() for legend in figure.legends for t in legend.get_texts()]
    return found


def test_joint_tables_draw_their_rows_beside_the_papers(
    make_record, make_row, make_table, paper_row
):
    rows = (
        make_row("one", {0: make_record(IMAGES), 1: make_record(IMAGES)}),
        make_row("two", {0: make_record(IMAGES)}, paper=paper_row),
    )
    measured = Measured(
        table=make_table(rows), rows=rows, tasks=("dna",), settings=("train=mini",)
    )
    figure = draw(measured)
    assert {"One", "Two"} <= set(texts(figure))
    ours, papers = figure.axes
    assert [len(ours.containers), len(papers.containers)] == [2, 1]
    assert "measured on data we do not have" in papers.get_title(loc="left")


@pytest.mark.parametrize(
    ("picture", "names"),
    [
        ("forgetting", {"One", "Two", "0", "0.1"}),
        ("losses", {"One", "Two", " 0.60 "}),
        ("parameters", {"1", "2", "1  One", "2  Two (one seed)"}),
        ("images", {"One", "Two"}),
    ],
)
def test_stream_tables_name_their_points(
    make_record, make_row, make_table, picture, names
):
    record = make_record(IMAGES, experiences=STREAM, forgetting=0.1)
    rows = (
        make_row("one", {0: record, 1: record}, num_images=1),
        make_row("two", {0: record}, num_images=2),
    )
    table = make_table(rows, layout="stream", picture=picture)
    figure = draw(
        Measured(table=table, rows=rows, tasks=("nucleolus",), settings=("train=mini",))
    )
    assert names <= set(texts(figure))


def test_dashes_are_explained_where_something_was_lost_since(
    make_record, make_row, make_table
):
    record = make_record(IMAGES, experiences=STREAM)  # DNA changed since its learning
    rows = (make_row("one", {0: record}, num_images=1),)
    table = make_table(rows, layout="stream", picture="images")
    for task, name in (("dna", "R² (dashed: at the end)"), ("nucleolus", "R²")):
        measured = Measured(table=table, rows=rows, tasks=(task,), settings=())
        assert draw(measured).axes[0].get_ylabel() == name


def test_rows_without_runs_take_no_place_among_streams(
    make_record, make_row, make_table
):
    record = make_record(IMAGES, experiences=STREAM, forgetting=0.1)
    rows = (make_row("one", {0: record}), make_row("two", {}))
    table = make_table(rows, layout="stream", picture="forgetting")
    figure = draw(
        Measured(table=table, rows=rows, tasks=("nucleolus",), settings=("train=mini",))
    )
    assert "One" in texts(figure)
    assert "Two" not in texts(figure)


def test_nothing_measured_is_no_figure(make_row, make_table):
    rows = (make_row("one", {}, missing={0: "not run yet"}),)
    assert (
        draw(
            Measured(
                table=make_table(rows), rows=rows, tasks=(), settings=("train=mini",)
            )
        )
        is None
    )


def test_transfer_tables_draw_a_matrix_and_its_relation_to_gates(
    make_record, make_row, make_table
):
    rows = (
        make_row("scratch", {0: make_record(IMAGES, experiences=[["nucleolus"]])}),
        make_row(
            "extended",
            {
                0: make_record(
                    IMAGES | {"nucleolus": {"c": 0.2}},
                    experiences=STREAM,
                    gate_distances={"dna nucleolus": 0.1},
                )
            },
        ),
    )
    table = make_table(rows, layout="transfer", picture="transfer")
    measured = Measured(
        table=table, rows=rows, tasks=("dna", "nucleolus"), settings=("train=mini",)
    )
    assert {"+0.30", "DNA", "nucleolus"} <= set(texts(draw(measured)))
    assert (
        draw(
            Measured(
                table=table, rows=rows[:1], tasks=("dna",), settings=("train=mini",)
            )
        )
        is None
    )


def test_choices_have_a_panel_for_each_method_and_mark_the_lowest(
    make_record, make_row, make_table
):
    rows = tuple(
        make_row(f"{way} {n}", {0: make_record(IMAGES, valid_mse=[mse])}, group=way)
        for way in ("one", "two", "three", "four")
        for n, mse in enumerate((0.5, 0.4))
    )
    table = make_table(rows, layout="choices", picture="choices")
    figure = draw(Measured(table=table, rows=rows, tasks=(), settings=()))
    panels = [axes for axes in figure.axes if axes.has_data()]
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles == ["one", "two", "three", "four"]
    for axes in panels:
        first, second = (points.lines[0].get_color() for points in axes.containers)
        assert (first, second) == (BLUE, ORANGE)


def test_growth_has_quality_and_parameters_of_each_stream(
    make_record, make_row, make_table
):
    record = make_record(IMAGES, experiences=STREAM, forgetting=0.1)
    rows = (
        make_row("frozen", {0: record}, group="a stream"),
        make_row("absent", {}, group="a stream"),
        make_row("tuned", {0: record}, group="another"),
    )
    table = make_table(rows, layout="growth", picture="growth")
    figure = draw(Measured(table=table, rows=rows, tasks=(), settings=()))
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert legend == {"Frozen", "Tuned"}
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == [
        "a stream",
        "another",
    ]
    parameters = figure.axes[2].lines[0].get_ydata()
    assert list(parameters) == [1234567 - 4321, 1234567]
