"""Options of a command, declared once: as the fields of a dataclass.

A field that :func:`option` makes is an option of the command; others are not.
"""

import argparse
import inspect
from collections.abc import Callable, Container, Iterable
from dataclasses import Field, field, fields
from typing import Any

from continual_repmode.errors import UserError


def option(
    default: Any,
    help: str,
    read: Callable[[Any], Any] | None = None,
    flag: str | None = None,
    group: str | None = None,
    **argument: Any,
) -> Any:
    """Return a field of a dataclass that is an option.

    Whole numbers, numbers and truth values are read as such.

    ``default``: of the field; a type makes it.
    ``help``: what ``--help`` says; it should name the default.
    ``read``: makes the value of the field of what ``argparse`` gives.
    ``flag``: by default ``--`` and the name of the field, without ``_um``.
    ``group``: the heading in ``--help`` that it stands under.
    ``**argument``: of :meth:`argparse.ArgumentParser.add_argument`.
    """
    declared = {"argument": {"help": help, **argument}, "read": read}
    metadata = {**declared, "flag": flag, "group": group}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def per_axis(default: Any, help: str, kind: type, group: str | None = None) -> Any:
    """Return a field that is one number for each of (Z, Y, X)."""
    axes = ("Z", "Y", "X")
    return option(default, help, tuple, group=group, type=kind, nargs=3, metavar=axes)


def flag_of(declared: Field[Any]) -> str:
    """Return what a field is called on the command line, such as ``--batch-size``."""
    plain = declared.name.removesuffix("_um").replace("_", "-")
    return declared.metadata["flag"] or f"--{plain}"


def _argument_of(declared: Field[Any]) -> dict[str, Any]:
    """Return how an option is read, where its type says it."""
    told: dict[str, Any] = declared.metadata["argument"]
    kind = declared.type
    if declared.metadata["read"] is not None or "choices" in told:
        return told
    if kind is bool:
        return {
            "action": argparse.BooleanOptionalAction
            if declared.default
            else "store_true",
            **told,
        }
    for number, metavar in ((int, "N"), (float, "X")):
        if kind in (number, number | None):
            return {"type": number, "metavar": metavar, **told}
    return told


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
    """Add the options of a dataclass, or those of some fields, in their order.

    Those that it inherits come last.
    """
    groups: dict[str | None, argparse._ActionsContainer] = {None: parser}
    own = inspect.get_annotations(kind)
    for declared in sorted(fields(kind), key=lambda field: field.name not in own):
        wanted = only is None or declared.name in only
        if wanted and "argument" in declared.metadata:
            group = declared.metadata["group"]
            if group not in groups:
                groups[group] = parser.add_argument_group(group)
            groups[group].add_argument(
                flag_of(declared),
                dest=declared.name,
                default=argparse.SUPPRESS,
                **_argument_of(declared),
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
