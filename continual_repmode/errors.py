"""An error that the user can fix, and a list of such errors."""

import difflib
from collections.abc import Iterable
from types import TracebackType


class UserError(ValueError):
    r"""A mistake of the caller, told in one line.

    The message names the file or argument, the offending value and the remedy. The
    command line prints it without a traceback and exits with status 2; library users
    may catch it as a :class:`ValueError`. Line breaks and other control characters, of
    file names and cells, are written out (``\n``).
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class Faults:
    """A list of errors, filled by ``with faults:`` blocks.

    ``collect``: keep a :class:`UserError` that ends a block, and go on after it;
        otherwise let it through.
    """

    def __init__(self, collect: bool = True) -> None:
        self.collect = collect
        self.found: list[UserError] = []

    def __enter__(self) -> None:
        """Begin a block that one error may end."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Keep the error of the block, if it is a user's mistake."""
        if not (self.collect and isinstance(error, UserError)):
            return False
        self.found.append(error)
        return True


def one_line(text: str) -> str:
    """Return a text with line breaks and other control characters written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def nearest(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return which name may have been meant; if none is close, what is known."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"known are {otherwise}"
