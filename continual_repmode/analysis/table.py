"""The table that a run ends with."""

from typing import Any

from continual_repmode.metrics.learned import not_learned
from continual_repmode.tasks import display_name

_LABELS = {"mse": "MSE", "mae": "MAE", "r2": "R2", "pearson_r": "Pearson r"}


def format_table(results: dict[str, Any]) -> str:
    """Return the scores of every task as text.

    Returns: a line per task in order of arrival, the overall value in both weightings,
        whether the old tasks are unchanged, and a line per task that was not learned.
    """
    metrics, tasks = results["metrics"], results["tasks"]
    shown = [*_LABELS, *(name for name in metrics if name not in _LABELS)]
    labels = (_LABELS.get(name, name) for name in shown)
    header = ("task", "learned in", *labels, "forgetting (R2)")
    last = {name: metrics[name]["result_matrix"][-1] for name in shown}
    lost = metrics["r2"]["forgetting"]["per_task"]
    arrived = {
        task: str(number + 1)
        for number, names in enumerate(results["experiences"])
        for task in names
    }
    rows = [
        (
            display_name(task),
            arrived[task],
            *(_number(last[name][index]) for name in shown),
            _number(lost.get(task)),
        )
        for index, task in enumerate(tasks)
    ]
    overall = [
        (label, "", *(_number(metrics[n]["overall"][key][-1]) for n in last), "")
        for key, label in (
            ("over_images", "all, mean over images"),
            ("over_tasks", "all, mean over tasks"),
        )
    ]
    missed = [
        f"{display_name(task)}: {judgement}"
        for task, judgement in not_learned(results.get("validation", {})).items()
    ]
    table = _align([header, *rows, *overall])
    return "\n".join([table, "", _verdict(results), *missed])


def _verdict(results: dict[str, Any]) -> str:
    proofs = [proof for proofs in results["proofs"] for proof in proofs]
    if not proofs:
        return "no task was added after another, so there was nothing to forget"
    changed = sorted({proof["task"] for proof in proofs if not proof["unchanged"]})
    if not changed:
        return (
            f"old tasks unchanged to the bit: {len(proofs)} of {len(proofs)} "
            "fingerprints of parameters and outputs are equal"
        )
    return f"old tasks changed: {', '.join(map(display_name, changed))}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _align(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-2], rule, *lines[-2:]])
