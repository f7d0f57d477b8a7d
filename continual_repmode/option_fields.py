"""Options of a command, declared once: as the fields of a dataclass.

A field whose metadata :func:`option` makes is an option of the command; others are not.
"""

import argparse
from collections.abc import Callable, Container, Iterable
from dataclasses import Field, fields
from typing import Any

from continual_repmode.errors import UserError


def option(
    help: str,
    read: Callable[[Any], Any] | None = None,
    flag: str | None = None,
    group: str | None = None,
    **argument: Any,
) -> dict[str, Any]:
    """Return the metadata of a field that is an option.

    ``help``: what ``--help`` says; it should name the default.
    ``read``: makes the value of the field of what ``argparse`` gives.
    ``flag``: by default ``--`` and the name of the field, without ``_um``.
    ``group``: the heading in ``--help`` that it stands under.
    ``**argument``: of :meth:`argparse.ArgumentParser.add_argument`.
    """
    found = {"argument": {"help": help, **argument}, "read": read}
    return {**found, "flag": flag, "group": group}


def per_axis(help: str, kind: type, group: str | None = None) -> dict[str, Any]:
    """Return the metadata of a field that is one number for each of (Z, Y, X)."""
    axes = ("Z", "Y", "X")
    return option(help, tuple, group=group, type=kind, nargs=3, metavar=axes)


def flag_of(declared: Field[Any]) -> str:
    """Return what a field is called on the command line, such as ``--batch-size``."""
    plain = declared.name.removesuffix("_um").replace("_", "-")
    return declared.metadata["flag"] or f"--{plain}"


def refuse_repeated_settings(words: Iterable[str]) -> None:
    """Refuse ``name=value`` given twice: the first would silently be left out.

    Raises UserError: naming both.
    """
    first: dict[str, str] = {}
    for word in words:
        name, equal, _ = word.lstrip("+").partition("=")
        if equal and first.setdefault(name, word) is not word:
            raise UserError(f"{first[name]} and {word} are both given: leave one out")


def add_options(
    parser: argparse.ArgumentParser, kind: Any, only: Container[str] | None = None
) -> None:
    """Add the options of a dataclass, or those of some fields, in their order."""
    groups: dict[str | None, argparse._ActionsContainer] = {None: parser}
    for declared in fields(kind):
        wanted = only is None or declared.name in only
        if wanted and "argument" in declared.metadata:
            group = declared.metadata["group"]
            if group not in groups:
                groups[group] = parser.add_argument_group(group)
            groups[group].add_argument(
                flag_of(declared),
                dest=declared.name,
                default=argparse.SUPPRESS,
                **declared.metadata["argument"],
            )


def given_options(chosen: argparse.Namespace, kind: Any) -> dict[str, Any]:
    """Return the options of a dataclass that were given, by the names of its fields.

    Raises UserError if one cannot be read.
    """
    given = {}
    for declared in fields(kind):
        if hasattr(chosen, declared.name):
            value, read = getattr(chosen, declared.name), declared.metadata["read"]
            given[declared.name] = value if read is None else read(value)
    return given
