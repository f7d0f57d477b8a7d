"""Options of a command, declared once: as the fields of a dataclass.

A field whose metadata :func:`option` makes is an option of the command; others are not.
"""

import argparse
from collections.abc import Callable
from dataclasses import fields
from typing import Any


def option(
    help: str,
    read: Callable[[Any], Any] | None = None,
    flag: str | None = None,
    **argument: Any,
) -> dict[str, Any]:
    """Return the metadata of a field that is an option.

    Parameters
    ----------
    help : str
        What ``--help`` says; it should name the default.
    read : callable, optional
        Makes the value of the field of what ``argparse`` gives.
    flag : str, optional
        By default ``--`` and the name of the field, without ``_um``.
    **argument
        Of :meth:`argparse.ArgumentParser.add_argument`.
    """
    return {"argument": {"help": help, **argument}, "flag": flag, "read": read}


def add_options(parser: argparse.ArgumentParser, kind: Any) -> None:
    """Add the options of a dataclass, in the order of its fields."""
    for declared in fields(kind):
        if "argument" in declared.metadata:
            plain = declared.name.removesuffix("_um").replace("_", "-")
            parser.add_argument(
                declared.metadata["flag"] or f"--{plain}",
                dest=declared.name,
                default=argparse.SUPPRESS,
                **declared.metadata["argument"],
            )


def given_options(chosen: argparse.Namespace, kind: Any) -> dict[str, Any]:
    """Return the options of a dataclass that were given, by the names of its fields.

    Raises
    ------
    UserError
        If one cannot be read.
    """
    given = {}
    for declared in fields(kind):
        if hasattr(chosen, declared.name):
            value, read = getattr(chosen, declared.name), declared.metadata["read"]
            given[declared.name] = value if read is None else read(value)
    return given
