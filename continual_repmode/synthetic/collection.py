"""A data source of generated pairs."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from continual_repmode.data.collection import LoadedPair, Split
from continual_repmode.errors import UserError
from continual_repmode.paths import user_path
from continual_repmode.resources import cache_folder
from continual_repmode.synthetic.cache import PairCache, Recipe
from continual_repmode.synthetic.field import VOXEL_SIZE_UM
from continual_repmode.synthetic.kinds import split_task
from continual_repmode.synthetic.structures import STRUCTURES
from continual_repmode.tasks import TASKS
from continual_repmode.volumes.normalization import zscore
from continual_repmode.volumes.volume import DEFAULT_WINDOW
from continual_repmode.workers import HERE, Workers

SMALLEST_SHAPE = (8, 16, 16)
PAIRS_PER_PROCESS = 8
"""Fewer missing pairs than this are not worth starting another process for."""


@dataclass(frozen=True, slots=True)
class GeneratedPair:
    """One generated field with one of its structures stained."""

    recipe: Recipe
    cache: PairCache

    @property
    def name(self) -> str:
        """Task, split and number: ``dna-train-004``."""
        return f"{self.recipe.task}-{self.recipe.split}-{self.recipe.index:03d}"

    @property
    def task(self) -> str:
        """Name of the stained structure."""
        return self.recipe.task

    def load(self) -> LoadedPair:
        """Return both volumes, z-scored; generates and caches them the first time."""
        light, fluorescence = self.cache.load(self.recipe)
        signal, signal_intensity = zscore(light)
        target, target_intensity = zscore(fluorescence)
        return LoadedPair(signal, target, signal_intensity, target_intensity)


class SyntheticCells:
    """Simulated hiPS-cell-like monolayers: a ``Collection`` that needs no download.

    Every pair shows cells of its own and one structure, as in the partially labelled
    collections of the paper. The same settings give the same bytes, whatever is
    generated first and by however many processes.

    Parameters
    ----------
    num_train, num_valid, num_test : int
        Pairs per task. Raising a number adds pairs and leaves the others as they are.
    shape : tuple of int
        (Z, Y, X), at least (8, 16, 16). A volume less than about 10 um deep holds
        flatter cells, so that it still shows the whole layer.
    seed : int
        Not negative.
    tasks : sequence of str
        Some or all of ``continual_repmode.tasks.TASKS``, in cells of a colony, or with
        ``-round`` after the name (``dna-round``) in larger and taller ones.
    voxel_size_um : float
        Edge of an isotropic voxel.
    cache_dir : str or Path, optional
        Where generated pairs are kept, by default the user's cache folder.

    Raises
    ------
    UserError
        If an argument is out of range.

    Examples
    --------
    >>> cells = SyntheticCells(num_train=2, num_valid=1, num_test=1, tasks=("dna",))
    >>> [pair.name for pair in cells.pairs("dna", "train")]
    ['dna-train-000', 'dna-train-001']
    """

    def __init__(
        self,
        num_train: int,
        num_valid: int,
        num_test: int,
        *,
        shape: tuple[int, int, int] = DEFAULT_WINDOW,
        seed: int = 0,
        tasks: Sequence[str] = TASKS,
        voxel_size_um: float = VOXEL_SIZE_UM,
        cache_dir: str | Path | None = None,
    ) -> None:
        self._counts = {"train": num_train, "valid": num_valid, "test": num_test}
        self._shape = shape
        self._seed = seed
        self._tasks = tuple(tasks)
        self._voxel_um = float(voxel_size_um)
        self._check()
        folder = (
            cache_folder("synthetic") if cache_dir is None else user_path(cache_dir)
        )
        self._cache = PairCache(folder)

    def _check(self) -> None:
        for split, count in self._counts.items():
            if count < 0:
                raise UserError(f"num_{split} must be 0 or more, got {count}")
        wanted = zip(self._shape, SMALLEST_SHAPE, strict=False)
        if len(self._shape) != 3 or any(size < least for size, least in wanted):
            raise UserError(
                f"shape of generated cells must be (Z, Y, X) of at least "
                f"{SMALLEST_SHAPE}, got {tuple(self._shape)}"
            )
        if self._seed < 0:
            raise UserError(f"seed must be 0 or more, got {self._seed}")
        if not 0.05 <= self._voxel_um <= 1.0:
            raise UserError(
                f"voxel_size_um must lie between 0.05 and 1, got {self._voxel_um}"
            )
        for task in self._tasks:
            structure, _ = split_task(task)
            if structure not in STRUCTURES:
                raise UserError(
                    f"no generated cells for task {task!r}; choose from "
                    f"{', '.join(STRUCTURES)}"
                )

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the stained structures."""
        return self._tasks

    @property
    def voxel_size_um(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in micrometres."""
        return (self._voxel_um, self._voxel_um, self._voxel_um)

    def pairs(self, task: str, split: Split) -> Sequence[GeneratedPair]:
        """Return the pairs of one task and split; nothing is generated yet.

        Raises
        ------
        UserError
            If the collection lacks the task or the split.
        """
        if task not in self._tasks:
            raise UserError(
                f"no pairs for task {task!r}; there are {', '.join(self._tasks)}"
            )
        if split not in self._counts:
            raise UserError(
                f"split must be one of {', '.join(self._counts)}, got {split!r}"
            )
        z, y, x = (int(size) for size in self._shape)
        return [
            GeneratedPair(
                Recipe(task, split, index, self._seed, (z, y, x), self._voxel_um),
                self._cache,
            )
            for index in range(self._counts[split])
        ]

    def prepare(self, progress: bool = True, workers: Workers = HERE) -> None:
        """Generate every pair that is not in the cache.

        Parameters
        ----------
        progress : bool
            Show a progress bar, if stderr is a terminal.
        workers : Workers
            Who shares the work. Processes are started afresh ("spawn"): a script that
            asks for more than one needs the usual ``if __name__ == "__main__"`` guard.

        Raises
        ------
        UserError
            If the cache folder cannot be written to.
        """
        recipes = [
            pair.recipe
            for task in self._tasks
            for split in get_args(Split)
            for pair in self.pairs(task, split)
        ]
        missing = [recipe for recipe in recipes if not self._cache.has(recipe)]
        several = workers.for_items(len(missing), PAIRS_PER_PROCESS)
        bar = tqdm(
            desc="generating cells",
            total=len(missing),
            unit="pair",
            disable=None if progress and missing else True,
        )
        store = partial(_store, self._cache)
        with bar, closing(several.work(store, missing)) as ended:
            for _, outcome in ended:
                if outcome is not None:
                    raise outcome
                bar.update()


def _store(cache: PairCache, recipe: Recipe) -> None:
    """Store a pair and keep it to itself: sending it back would cost time."""
    cache.store(recipe)
