"""The one exception that means: a person can mend this."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    r"""A mistake of the caller, told in one line.

    The message names the file or argument, the offending value and the remedy. The
    command line prints it without a traceback and exits with status 2; library users
    may catch it as a :class:`ValueError`. Line breaks and other control characters, of
    file names and cells, are written out (``\n``).
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """Return a text with line breaks and other control characters written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def nearest(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return which name may have been meant; if none is close, what is known."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"known are {otherwise}"
