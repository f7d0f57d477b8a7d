"""The list of everything that can be measured."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks import (
    ahead,
    arithmetic,
    cluster,
    extension,
    loading,
    overlap,
    prediction,
    processes,
    registration,
    resizing,
    startup,
    structures,
    training,
    windows,
)
from benchmarks.harness import Settings
from benchmarks.records import Measurement


@dataclass(frozen=True)
class Section:
    """Something that can be measured alone.

    Attributes
    ----------
    about : str
    measure : callable from Settings to list of Measurement
    uses_device : bool
        Whether a card makes a difference.
    """

    about: str
    measure: Callable[[Settings], list[Measurement]]
    uses_device: bool = True


SECTIONS = {
    "training-8": Section(
        "Training step, batch 8, width 8", partial(training.measure, 8)
    ),
    "training-16": Section(
        "Training step, batch 8, width 16", partial(training.measure, 16)
    ),
    "training-32": Section(
        "Training step, batch 8, width 32", partial(training.measure, 32)
    ),
    "extension": Section("Training step on a new task, batch 8", extension.measure),
    "processes": Section("Training step shared by two processes", processes.measure),
    "cluster": Section("Many fields: workers, shards, precision", cluster.measure),
    "ahead": Section("Fields: files read while others are predicted", ahead.measure),
    "prediction": Section("Prediction of a volume", prediction.measure),
    "structures": Section("Twelve structures from one image", structures.measure),
    "windows": Section("Prediction of one window", windows.measure),
    "overlap": Section("Overlap of prediction windows", overlap.measure, False),
    "arithmetic": Section("Arithmetic rate", arithmetic.measure),
    "loading": Section("Patches from prepared volumes", loading.measure, False),
    "registration": Section("Shifts that the check finds", registration.measure, False),
    "resizing": Section("Resizing to the model grid", resizing.measure, False),
    "startup": Section("Start-up", startup.measure, False),
}
