"""Which parts of an unfinished volume are written, and the intensities there."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class WriteJournal:
    """A file that gets a line for each block written, so that writing can go on.

    ``path``: the first line says what is written; without such a file there is nothing
        yet.
    ``shape``: of (C, Z, Y, X).
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self._path = path
        num_channels, num_z, num_y, _ = shape
        self._rows = np.zeros((num_channels, num_z, num_y), bool)
        self._low = [math.inf] * num_channels
        self._high = [-math.inf] * num_channels

    def resume(self, header: Mapping[str, Any]) -> bool:
        """Take in what was written before; return whether it is of the same header."""
        try:
            lines = self._path.read_text("utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]  # one may be cut
            found, *blocks = map(json.loads, whole)
        except (FileNotFoundError, ValueError):
            return False
        if found != json.loads(json.dumps(header)):
            return False
        for block in blocks:
            self._take(*block)
        self._path.write_text("".join(whole), "utf-8", newline="\n")
        return True

    def begin(self, header: Mapping[str, Any]) -> None:
        """Make the file."""
        self._path.write_text(json.dumps(header) + "\n", "utf-8", newline="\n")

    def add(
        self, channel: int, planes: slice, rows: slice, low: float, high: float
    ) -> None:
        """Note that a block is written, and its least and greatest intensity."""
        ends = planes.start, planes.stop, rows.start, rows.stop
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps([channel, *ends, low, high]) + "\n")
        self._take(channel, *ends, low, high)

    def missing(self, channel: int) -> list[int]:
        """Return the planes that are not wholly written."""
        planes: list[int] = np.flatnonzero(~self._rows[channel].all(axis=1)).tolist()
        return planes

    def ranges(self) -> list[tuple[float, float]]:
        """Return the least and greatest intensity of each channel."""
        return list(zip(self._low, self._high, strict=True))

    def _take(
        self,
        channel: int,
        first_plane: int,
        last_plane: int,
        first_row: int,
        last_row: int,
        low: float,
        high: float,
    ) -> None:
        self._rows[channel, first_plane:last_plane, first_row:last_row] = True
        self._low[channel] = float(np.minimum(self._low[channel], low))  # NaN stays
        self._high[channel] = float(np.maximum(self._high[channel], high))
