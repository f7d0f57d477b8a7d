"""Processes that start afresh, whoever started this one."""

import multiprocessing
from multiprocessing.context import SpawnContext


def fresh_processes() -> SpawnContext:
    """Return what starts processes afresh ("spawn").

    A process tells the ones that it starts which method is its default. Workers of
    joblib have one that a fresh interpreter does not know, and would die of; in them
    the default becomes "spawn".
    """
    default = multiprocessing.get_start_method(allow_none=True)
    if default is not None and default not in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("spawn", force=True)
    return multiprocessing.get_context("spawn")
