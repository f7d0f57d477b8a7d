"""How strongly each strategy should hold on to old tasks: tried once, alike for all.

The cells are others than those of the other tables, so that what is chosen here is not
chosen for the images it is judged by.
"""

from continual_repmode.experiments.table import Row, Table
from continual_repmode.tasks import TASKS, display_name

STRENGTHS = {
    "lwf": ("LwF", {"strength": 1.0}),
    "der": ("DER", {"alpha": 0.5, "beta": 0.5}),
    "ewc": ("EWC", {"strength": 1000.0}),
    "si": ("SI", {"strength": 10.0}),
    "mas": ("MAS", {"strength": 10.0}),
}
"""Strategy -> its name, and the settings that say how strongly it holds."""

FACTORS = (0.1, 1.0, 10.0)
"""Every strength is tried as often, in steps as large."""

NEW_TASK = "nucleolus"
OTHER_CELLS = "data.seed=100"

_KNOWN = [task for task in TASKS if task not in {NEW_TASK, "cell_membrane"}]
_STREAM = f"[[{','.join(_KNOWN)}],[{NEW_TASK}]]"
_BASE = ("scenario=base_tasks", "model=repmode", "strategy=naive", OTHER_CELLS)


def strengths_table() -> Table:
    """Return a table whose rows are strategies at several strengths."""
    tried = tuple(
        _row(f"{name}_{number}", label, name, factor, settings)
        for name, (label, settings) in STRENGTHS.items()
        for number, factor in enumerate(FACTORS, start=1)
    )
    return Table(
        name="strengths",
        title="How strongly to hold on to old tasks",
        about=f"Ten tasks are known; {display_name(NEW_TASK)} arrives. The cells are "
        "not those of the other tables.",
        rows=(_row("naive", "all fine-tuned", "naive", 1.0, {}), *tried),
        reference="naive",
        layout="stream",
        picture="forgetting",
    )


def _row(
    name: str, label: str, strategy: str, factor: float, settings: dict[str, float]
) -> Row:
    chosen = {key: value * factor for key, value in settings.items()}
    told = ", ".join(f"{key} {value:g}" for key, value in chosen.items())
    return Row(
        name=name,
        label=f"{label}, {told}" if told else label,
        settings=(
            "scenario=incremental",
            f"scenario.experiences={_STREAM}",
            "model=repmode",
            f"strategy={strategy}",
            *(f"strategy.{key}={value:g}" for key, value in chosen.items()),
            OTHER_CELLS,
        ),
        base=None if strategy == "si" else _BASE,  # SI measures while it learns
    )
