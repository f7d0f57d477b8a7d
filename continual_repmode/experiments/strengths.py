"""How strongly each strategy should hold on to old tasks: tried once, alike for all.

The cells are others than those of the other tables, so that what is chosen here is not
chosen for the images it is judged by.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from continual_repmode.experiments.table import Row, Table
from continual_repmode.tasks import TASKS, display_name

STRENGTHS = {
    "lwf": ("LwF", ("strength",), (0.1, 1.0, 10.0)),
    "der": ("DER", ("alpha", "beta"), (0.05, 0.5, 5.0)),
    "ewc": ("EWC", ("strength",), (100.0, 1000.0, 10_000.0)),
    "si": ("SI", ("strength",), (1.0, 10.0, 100.0)),
    "mas": ("MAS", ("strength",), (1.0, 10.0, 100.0, 1000.0)),
}
"""Strategy -> its name, the settings that say how strongly it holds, what is tried.

Three values around a first guess; where the best of them was at an end, one beyond it.
"""

WITHOUT_STRENGTH = {
    "repmode": "RepMode, experts frozen",
    "naive": "all fine-tuned",
    "replay": "Replay",
    "gem": "GEM",
    "agem": "A-GEM",
}
"""Strategy -> its name; only the normalization is tried."""

CHOSEN = {
    "repmode": "repmode_own",
    "naive": "naive",
    "replay": "replay_own",
    "gem": "gem_own",
    "agem": "agem_own",
    "lwf": "lwf_2_own",
    "der": "der_2_own",
    "ewc": "ewc_2_own",
    "si": "si_2_own",
    "mas": "mas_3_own",
}
"""Strategy -> the row with the lowest sum of the new task's MSE and forgetting.

Of a strategy that is not measured yet, its first row is a first guess.
"""

NEW_TASK = "nucleolus"
OTHER_CELLS = "data.seed=100"

_KNOWN = [task for task in TASKS if task not in {NEW_TASK, "cell_membrane"}]
_STREAM = f"[[{','.join(_KNOWN)}],[{NEW_TASK}]]"
_BASE = ("scenario=base_tasks", "model=repmode", "strategy=naive", OTHER_CELLS)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """A strategy with a strength and a normalization: one row of the table.

    Attributes
    ----------
    name, label, group : str
        Of the row.
    strategy : str
    settings : tuple of str
        In which the candidates of a strategy differ.
    """

    name: str
    label: str
    group: str
    strategy: str
    settings: tuple[str, ...]


def _candidates() -> Iterator[_Candidate]:
    """Give all candidates, first those with shared normalization."""
    for suffix, group, norm in (
        ("", "shared normalization", ()),
        ("_own", "own normalization", ("strategy.private_bn=true",)),
    ):
        for name, label, strategy, settings in _strengths():
            yield _Candidate(
                name=f"{name}{suffix}",
                label=label,
                group=group,
                strategy=strategy,
                settings=(*settings, *norm),
            )


def _strengths() -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Give name, label, strategy and settings of every strength that is tried."""
    for strategy, label in WITHOUT_STRENGTH.items():
        yield strategy, label, strategy, ()
    for strategy, (label, strengths, values) in STRENGTHS.items():
        for number, value in enumerate(values, start=1):
            told = ", ".join(f"{strength} {value:g}" for strength in strengths)
            settings = tuple(f"strategy.{strength}={value:g}" for strength in strengths)
            yield f"{strategy}_{number}", f"{label}, {told}", strategy, settings


def names() -> dict[str, str]:
    """Return the name of every strategy that is tried, for people."""
    return WITHOUT_STRENGTH | {key: label for key, (label, _, _) in STRENGTHS.items()}


def chosen_settings(strategy: str) -> tuple[str, ...]:
    """Return the settings that turned out best for a strategy."""
    tried = {c.name: c.settings for c in _candidates() if c.strategy == strategy}
    return tried[CHOSEN[strategy]] if strategy in CHOSEN else next(iter(tried.values()))


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
        rows=tuple(_row(candidate) for candidate in _candidates()),
        reference="naive",
        layout="stream",
        picture="losses",
    )


def option(strategy: str) -> str:
    """Return the option of ``strategy`` that is tried: of RepMode the paper's."""
    return "repmode_paper" if strategy == "repmode" else strategy


def _row(candidate: _Candidate) -> Row:
    return Row(
        name=candidate.name,
        label=candidate.label,
        group=candidate.group,
        settings=(
            "scenario=incremental",
            f"scenario.experiences={_STREAM}",
            "model=repmode",
            "model.private_bn=false",
            f"strategy={option(candidate.strategy)}",
            *candidate.settings,
            OTHER_CELLS,
        ),
        # SI measures while it learns, so it learns the base tasks itself
        base=None if candidate.strategy == "si" else _BASE,
    )
