"""How things are measured: in turn within one run, so that ratios are fair."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from tqdm import tqdm

from benchmarks.records import Comparison, Spread
from continual_repmode.measuring import synchronize

Name = TypeVar("Name")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Settings:
    """What the command line chose.

    Attributes
    ----------
    device : torch.device
    rounds : int or None
        None leaves it to each section.
    quick : bool
        Sizes that only show that everything runs.
    gigabytes : float
        Of prepared volumes to read patches from.
    folder : Path
        Where these volumes are kept from run to run.
    """

    device: torch.device
    rounds: int | None
    quick: bool
    gigabytes: float
    folder: Path

    def rounds_or(self, usual: int) -> int:
        """Return how often each case is measured, ``usual`` unless chosen."""
        return self.rounds or (1 if self.quick else usual)

    @property
    def on_cpu(self) -> bool:
        return self.device.type == "cpu"


@dataclass
class Timed(Generic[Result]):
    """Seconds of each round of one case, and what it returned."""

    seconds: list[float] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)

    @property
    def spread(self) -> Spread:
        return Spread.of(self.seconds)

    def over(
        self, other: "Timed[Any]", name: str, at_most: float | None = None
    ) -> Comparison:
        """Compare the time with that of another case of the same run."""
        ratio = Spread.ratio(self.seconds, other.seconds)
        return Comparison(f"time over {name}", ratio, at_most=at_most)


def alternate(
    cases: Mapping[Name, Callable[[], Result]],
    rounds: int,
    doing: str,
    *,
    warm_up: int = 1,
    repeats: int = 1,
    once: Collection[Name] = (),
) -> dict[Name, Timed[Result]]:
    """Time cases in turn, every second round backwards.

    Parameters
    ----------
    cases : mapping of name to callable
    rounds : int
        Times each case is measured.
    doing : str
        Stands next to the progress bar.
    warm_up : int
        Untimed rounds before.
    repeats : int
        Calls per measurement, which is their mean.
    once : collection of name
        Cases so slow that they are measured in the first round only, cold.
    """
    timed: dict[Name, Timed[Result]] = {name: Timed() for name in cases}
    runs = [
        (index, name)
        for index in range(-warm_up, rounds)
        for name in list(cases)[:: -1 if index % 2 else 1]
        if index == 0 or name not in once
    ]
    with tqdm(runs, desc=doing, unit="run") as bar:
        for index, name in bar:
            bar.set_postfix_str(str(name))
            seconds, result = _measure(cases[name], repeats)
            if index >= 0:
                timed[name].seconds.append(seconds)
                timed[name].results.append(result)
    return timed


def _measure(run: Callable[[], Result], repeats: int) -> tuple[float, Result]:
    synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        result = run()
    synchronize()
    return (time.perf_counter() - began) / repeats, result


def memory_over(
    above: int | None, below: int | None, name: str, at_most: float | None = None
) -> list[Comparison]:
    """Compare two peaks, if both are known."""
    if not above or not below:
        return []
    ratio = Spread.of([above / below])
    return [Comparison(f"memory over {name}", ratio, at_most=at_most)]
