"""What a table of results consists of."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, overload

from continual_repmode.errors import UserError
from continual_repmode.experiments.paper import PaperRow

Layout = Literal["joint", "stream", "transfer", "choices", "growth"]
Picture = Literal[
    "bars",
    "forgetting",
    "losses",
    "parameters",
    "images",
    "transfer",
    "choices",
    "growth",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of a table: a run for every seed."""

    #: Chooses the row on the command line; unique within its table.
    name: str
    #: What people read.
    label: str
    #: Of the run, in Hydra's syntax.
    settings: tuple[str, ...]
    #: Settings of another run, whose network after its first experience this one starts
    #: from. Rows with the same base share it.
    base: tuple[str, ...] | None = None
    #: Heading that the row stands under.
    group: str = ""
    #: Name of the row to compare with; None: the table's.
    reference: str | None = None
    #: Labelled training images of a new task, where that is what a table varies.
    num_images: int | None = None
    #: What the paper reports for it.
    paper: PaperRow | None = None


class RowsLater(Sequence[Row]):
    """Rows that are made when they are first asked for.

    ``make``: imports what would make the list of tables slow.
    """

    def __init__(self, make: Callable[[], Iterable[Row]]) -> None:
        self._make = make

    @cached_property
    def _rows(self) -> tuple[Row, ...]:
        return tuple(self._make())

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows that are shown together."""

    #: Also names its files.
    name: str
    title: str
    #: One or two sentences above the table.
    about: str
    rows: Sequence[Row]
    #: Name of the row that the others are compared with.
    reference: str
    #: All tasks and "All"; the tasks that arrive later and what the others forget; what
    #: every task gains from each other one; validation errors alone, to choose the
    #: lowest of each group; or all tasks so far against their number.
    layout: Layout
    #: Kind of its figure.
    picture: Picture

    def row(self, name: str) -> Row:
        """Return a row by its name.

        Raises UserError if there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        known = ", ".join(row.name for row in self.rows)
        raise UserError(f"rows={name}: {self.name} has the rows {known}")

    def reference_of(self, row: Row) -> Row:
        """Return the row to compare ``row`` with, possibly itself."""
        return self.row(row.reference or self.reference)


def stream_row(
    name: str,
    label: str,
    *,
    model: str,
    strategy: str,
    settings: Iterable[str] = (),
    group: str = "",
) -> Row:
    """Return a run of the incremental stream that starts from trained base tasks.

    A RepMode network is the paper's, whose base tasks share their normalization.
    """
    network = [f"model={model}", *["model.private_bn=false"] * (model == "repmode")]
    return Row(
        name=name,
        label=label,
        settings=(
            "scenario=incremental",
            *network,
            f"strategy={strategy}",
            *settings,
        ),
        base=("scenario=base_tasks", *network, "strategy=naive"),
        group=group,
    )


def experiences(stream: Sequence[Sequence[str]]) -> str:
    """Return the setting that makes a scenario consist of these tasks."""
    listed = ",".join(f"[{','.join(tasks)}]" for tasks in stream)
    return f"scenario.experiences=[{listed}]"
