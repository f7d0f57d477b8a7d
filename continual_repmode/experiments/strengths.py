"""How strongly each strategy should hold on to old tasks: tried once, alike for all.

The cells are others than those of the other tables, so that what is chosen here is not
chosen for the images it is judged by.
"""

from collections.abc import Iterator

from continual_repmode.experiments.table import Row, Table
from continual_repmode.tasks import TASKS, display_name

STRENGTHS = {
    "lwf": ("LwF", ("strength",), (0.01, 0.1, 1.0, 10.0)),
    "der": ("DER", ("alpha", "beta"), (0.005, 0.05, 0.5, 5.0)),
    "ewc": ("EWC", ("strength",), (100.0, 1000.0, 10_000.0, 100_000.0)),
    "si": ("SI", ("strength",), (1.0, 10.0, 100.0, 1000.0)),
    "mas": ("MAS", ("strength",), (1.0, 10.0, 100.0, 1000.0)),
}
"""Strategy -> its name, the settings that say how strongly it holds, what is tried.

Three values around a first guess, and one beyond the end that was better with the
better of both normalizations.
"""

WITHOUT_STRENGTH = {
    "naive": "all fine-tuned",
    "replay": "Replay",
    "gem": "GEM",
    "agem": "A-GEM",
}
"""Strategy -> its name; only the normalization is tried."""

NEW_TASK = "nucleolus"
OTHER_CELLS = "data.seed=100"

_KNOWN = [task for task in TASKS if task not in {NEW_TASK, "cell_membrane"}]
_STREAM = f"[[{','.join(_KNOWN)}],[{NEW_TASK}]]"
_BASE = ("scenario=base_tasks", "model=repmode", "strategy=naive", OTHER_CELLS)
_NORMS = {
    "shared normalization": (),
    "own normalization": ("strategy.private_bn=true",),
}


def strengths_table() -> Table:
    """Return a table whose rows are strategies at several strengths.

    Each with batch normalization that all tasks share, and with one that a new task has
    to itself.
    """
    return Table(
        name="strengths",
        title="How to hold on to old tasks: strength and normalization",
        about=f"Ten tasks are known; {display_name(NEW_TASK)} arrives, with the batch "
        "normalization that all share or with its own. The cells are not those of the "
        "other tables.",
        rows=tuple(_rows()),
        reference="naive",
        layout="stream",
        picture="losses",
    )


def _rows() -> Iterator[Row]:
    for suffix, (group, settings) in zip(("", "_own"), _NORMS.items(), strict=True):
        for name, label in WITHOUT_STRENGTH.items():
            yield _row(f"{name}{suffix}", label, name, group, settings)
        for name, (label, strengths, values) in STRENGTHS.items():
            for number, value in enumerate(values, start=1):
                told = ", ".join(f"{strength} {value:g}" for strength in strengths)
                chosen = [f"strategy.{strength}={value:g}" for strength in strengths]
                yield _row(
                    f"{name}_{number}{suffix}",
                    f"{label}, {told}",
                    name,
                    group,
                    (*chosen, *settings),
                )


def _row(
    name: str, label: str, strategy: str, group: str, settings: tuple[str, ...]
) -> Row:
    return Row(
        name=name,
        label=label,
        group=group,
        settings=(
            "scenario=incremental",
            f"scenario.experiences={_STREAM}",
            "model=repmode",
            f"strategy={strategy}",
            *settings,
            OTHER_CELLS,
        ),
        base=None if strategy == "si" else _BASE,  # SI measures while it learns
    )
