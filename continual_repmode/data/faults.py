"""Errors that are raised, or collected to be told all at once."""

from types import TracebackType

from continual_repmode.errors import UserError


class Faults:
    """A list of errors, filled by ``with faults:`` blocks.

    Parameters
    ----------
    collect : bool
        Keep a :class:`UserError` that ends a block, and go on after it; otherwise let
        it through.
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
