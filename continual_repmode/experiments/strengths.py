"""How strongly each strategy should hold on to old tasks: tried once, equally.

The cells are others than those of the other tables, so that what is chosen here is not
chosen for the images it is judged by.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from continual_repmode.errors import UserError
from continual_repmode.experiments.table import Row, RowsLater, Table
from continual_repmode.offers import offers
from continual_repmode.tasks import TASKS, display_name

if TYPE_CHECKING:
    from continual_repmode.training.strategies.strategy_config import StrategyConfig

NEW_TASK = "nucleolus"
OTHER_CELLS = "data.seed=100"

_KNOWN = [task for task in TASKS if task not in {NEW_TASK, "cell_membrane"}]
_STREAM = f"[[{','.join(_KNOWN)}],[{NEW_TASK}]]"
_BASE = ("scenario=base_tasks", "model=repmode", "strategy=naive", OTHER_CELLS)


@cache
def tuned() -> "dict[str, type[StrategyConfig]]":
    """Return the strategies that are tried, those without a strength first.

    Importing them imports PyTorch.
    """
    from continual_repmode.training.strategies.strategy_config import StrategyConfig

    found = {}
    for name, offer in offers("strategies").items():
        with suppress(UserError):  # a package of others that cannot be used
            found[name] = offer.load(StrategyConfig)
    tried = {name: kind for name, kind in found.items() if kind.tuning}
    return dict(sorted(tried.items(), key=lambda each: bool(each[1].tuning.values)))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """A strategy with a strength and a normalization: one row of the table."""

    #: Of the row.
    name: str
    label: str
    group: str
    strategy: str
    #: In which the candidates of a strategy differ.
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
    for strategy, kind in tuned().items():
        tuning = kind.tuning
        assert tuning is not None
        if not tuning.values:
            yield strategy, kind.label, strategy, ()
        for number, value in enumerate(tuning.values, start=1):
            told = ", ".join(f"{name} {value:g}" for name in tuning.settings)
            settings = tuple(f"strategy.{name}={value:g}" for name in tuning.settings)
            yield f"{strategy}_{number}", f"{kind.label}, {told}", strategy, settings


def names() -> dict[str, str]:
    """Return the name of every strategy that is tried, for people."""
    return {strategy: kind.label for strategy, kind in tuned().items()}


def learns_first(strategy: str) -> bool:
    """Whether a strategy learns the base tasks itself: it measures while it learns."""
    return tuned()[strategy].learns_first


def chosen_settings(strategy: str) -> tuple[str, ...]:
    """Return the settings that turned out best for a strategy, or a first guess."""
    tried = {c.name: c.settings for c in _candidates() if c.strategy == strategy}
    tuning = tuned()[strategy].tuning
    chosen = tuning.chosen if tuning else None
    return tried[chosen] if chosen else next(iter(tried.values()))


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
        rows=RowsLater(lambda: map(_row, _candidates())),
        reference="naive",
        layout="stream",
        picture="losses",
    )


def option(strategy: str) -> str:
    """Return the option of ``strategy`` that is tried: of RepMode the paper's."""
    tuning = tuned()[strategy].tuning
    return (tuning and tuning.preset) or strategy


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
        base=None if learns_first(candidate.strategy) else _BASE,
    )
