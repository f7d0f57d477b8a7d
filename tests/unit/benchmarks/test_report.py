"""The table is made of nothing but the results on disk."""

import json
from dataclasses import replace

from benchmarks.records import Comparison, Measurement, SectionResult, Spread
from benchmarks.report import BEGIN, END, load_results, render, write_report

OURS = Measurement(
    case="width 8, 16x64x64, one task",
    what="RepMode here",
    value=Spread(3.0, 2.9, 3.25),
    unit="s",
    memory_bytes=1_234_000_000,
    comparisons=(
        Comparison("time over plain", Spread(1.07, 1.05, 1.12), at_most=1.1),
        Comparison("memory over plain", Spread.of([1.3]), at_most=1.2),
        Comparison("time over branches", Spread.of([0.4])),
    ),
)
MISSING = Measurement(OURS.case, "MONAI", None, "s", note="not installed")
RESULT = SectionResult(
    section="training-8",
    about="Training step",
    device="cpu",
    began="2026-01-02T03:04+00:00",
    wall_time_s=12.4,
    command="python -m benchmarks training-8",
    machine={"processor": "a | b"},
    versions={"torch": "2.8"},
    measurements=(OURS, MISSING),
)


def row_with(text: str, *parts: str) -> str:
    (row,) = (r for r in text.splitlines() if all(part in r for part in parts))
    return row


def test_results_come_back_from_json_as_they_were(tmp_path):
    RESULT.save(tmp_path)
    assert SectionResult.load(tmp_path / "training-8-cpu.json") == RESULT
    assert json.loads((tmp_path / "training-8-cpu.json").read_text())["section"]


def test_a_target_is_reached_by_the_median():
    text = render([RESULT])
    time = row_with(text, "RepMode here: time over plain")
    assert time.endswith("| 1.07x (1.05 to 1.12) | at most 1.1x | yes |")
    memory = row_with(text, "RepMode here: memory over plain")
    assert memory.endswith("| 1.3x | at most 1.2x | **no** |")


def test_what_has_no_target_is_no_target():
    targets, _, _ = render([RESULT]).partition("## Everything measured")
    assert "branches" not in targets


def test_a_row_tells_median_extremes_memory_and_comparisons():
    row = row_with(render([RESULT]), "3 s (2.9 to 3.25)")
    assert "| 1,234 MB |" in row
    assert "0.4x time over branches" in row


def test_a_ratio_just_beside_its_target_is_told_from_it():
    compared = Comparison("time", Spread.of([1.002]), at_most=1.0)
    beside = replace(OURS, comparisons=(compared,))
    text = render([replace(RESULT, measurements=(beside,))])
    assert "| 1.002x | at most 1x | **no** |" in text


def test_what_could_not_be_measured_says_why():
    assert row_with(render([RESULT]), "MONAI").endswith("| - | - |  | not installed |")


def test_every_row_has_as_many_cells_as_its_table_has_columns():
    columns = 0
    for line in render([RESULT]).replace("\\|", "").splitlines():
        if line.startswith("|"):
            columns = columns or line.count("|")
            assert line.count("|") == columns
        else:
            columns = 0


def test_the_origin_is_told():
    row = row_with(render([RESULT]), "`python -m benchmarks training-8`")
    for part in ("2026-01-02T03:04", "12 s", "torch 2.8", r"processor a \| b"):
        assert part in row


def test_results_are_read_in_order_cpu_first(tmp_path):
    for section, device in [("b", "cuda"), ("b", "cpu"), ("a", "cuda")]:
        replace(RESULT, section=section, device=device).save(tmp_path)
    found = [(r.section, r.device) for r in load_results(tmp_path, ["a", "b"])]
    assert found == [("b", "cpu"), ("a", "cuda"), ("b", "cuda")]


def test_text_around_the_tables_is_kept(tmp_path):
    path = tmp_path / "BENCHMARKS.md"
    path.write_text(f"# Title\n\nWhy.\n\n{BEGIN}\nold\n{END}\n\nWhat limits it.\n")
    write_report(path, [RESULT])
    text = path.read_text()
    assert text.startswith(f"# Title\n\nWhy.\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nWhat limits it.\n")
    assert "old" not in text
    write_report(path, [RESULT])
    assert path.read_text() == text


def test_a_file_without_marks_is_written_anew(tmp_path):
    path = tmp_path / "BENCHMARKS.md"
    write_report(path, [RESULT])
    assert path.read_text().startswith(f"# Benchmarks\n\n{BEGIN}\n")


def test_numbers_have_three_digits():
    for value, written in (
        *((1234.5, "1,234 s"), (0.000123, "0.000123 s")),
        *((12.345, "12.3 s"), (0.0, "0 s")),
    ):
        row = replace(OURS, value=Spread.of([value]))
        assert f"| {written} |" in render([replace(RESULT, measurements=(row,))])
