"""What the verbs share: their parser, the arguments of several, what is unused."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from continual_repmode.errors import UserError
from continual_repmode.option_fields import add_options
from continual_repmode.paths import user_path
from continual_repmode.workers import Part, Workers


class Parser(argparse.ArgumentParser):
    """Of a verb; tells a mistake in the arguments as a :class:`UserError`."""

    def __init__(self, verb: str, description: str, *examples: str) -> None:
        called = f"continual-repmode {verb}"
        told = [f"{called} {example}" for example in examples]
        several = len(told) > 1
        super().__init__(
            prog=called,
            description=description,
            epilog="\n  ".join(["examples:", *told])
            if several
            else f"example: {told[0]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> Any:
        """Raise instead of printing the usage and leaving."""
        raise UserError(f"{message} ({self.prog} --help explains)")


def add_model_output(parser: Parser) -> None:
    """Add the arguments that say which model file is written."""
    add = parser.add_argument
    add("--out", required=True, metavar="FILE", help="the model file to write")
    add("--overwrite", action="store_true", help="replace the file if it is there")


def model_output(chosen: argparse.Namespace, read: Sequence[Path] = ()) -> Path:
    """Return the model file to write.

    ``read``: files that it must not replace.
    Raises UserError if it is called otherwise, is one of those, or is in the way.
    """
    out = user_path(chosen.out)
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: give a name that ends with .safetensors")
    if out.resolve() in [path.resolve() for path in read]:
        raise UserError(f"--out {out}: is one of the models; give another name")
    if out.exists() and not chosen.overwrite:
        raise UserError(f"--out {out}: exists; give another name or --overwrite")
    return out


def manifest_parser(verb: str, description: str, example: str, kind: Any) -> Parser:
    """Return the parser of a verb that takes a manifest and the options of a class."""
    parser = Parser(verb, description, example)
    parser.add_argument(
        "manifest", metavar="MANIFEST", help="a CSV file, or a folder of them"
    )
    add_options(parser, kind)
    add_workers(parser, os.cpu_count() or 1, "one per core")
    return parser


def add_workers(parser: Parser, count: int, default: str) -> None:
    """Add the arguments that say who shares the work."""
    add = parser.add_argument
    add(
        "--workers",
        "--processes",
        type=_count,
        default=count,
        metavar="N",
        help=f"processes that share the work (default: {default})",
    )
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="of a Dask cluster that does the work, such as tcp://host:8786, or its "
        "scheduler file",
    )
    add(
        "--part",
        default="1/1",
        metavar="N/PARTS",
        help="do one part of the list, such as 3/20, and leave the others to other "
        "calls (default: all)",
    )


def workers_of(chosen: argparse.Namespace) -> Workers:
    """Return who shares the work."""
    if chosen.scheduler:
        say_unused(chosen, "with --scheduler", "--workers")
    return Workers(chosen.workers, chosen.scheduler)


def part_of(chosen: argparse.Namespace) -> Part:
    """Return which part of the list is meant."""
    return Part.parse(chosen.part)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: use a whole number, 1 or more")
    return int(text)


def parse(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace | None:
    """Return the parsed arguments, or None if only help was asked for.

    They have ``given``, the options that the user wrote.

    Raises UserError if one is wrong, or given twice.
    """
    if {"-h", "--help"} & set(arguments):
        parser.print_help()
        return None
    chosen = parser.parse_args(arguments)
    words = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    chosen.given = words[: words.index("--")] if "--" in words else words
    _refuse_repeated(parser, chosen.given)
    return chosen


def _refuse_repeated(parser: Parser, given: Sequence[str]) -> None:
    """Refuse an option whose first value would silently be left out."""
    first: dict[argparse.Action, str] = {}
    for word in given:
        action = parser._option_string_actions[word]
        other = first.setdefault(action, word)
        again = given.count(word) > 1 and action.nargs != 0
        if not isinstance(action, argparse._AppendAction) and (again or other != word):
            twice = "is given twice" if other == word else f"and {other} are both given"
            raise UserError(f"{word} {twice}: leave one out")


def say_unused(chosen: argparse.Namespace, why: str, *options: str) -> None:
    """Tell in a line which of the options that were given have no effect."""
    unused = [name for name in options if name in chosen.given]
    if unused:
        print(f"note: {', '.join(unused)}: without effect {why}", file=sys.stderr)
