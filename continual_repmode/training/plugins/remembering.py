"""What plugins offer so that an interrupted run can go on: plain states."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Remembering(Protocol):
    """A plugin that carries something from one experience to the next.

    The state, tensors and plain values only, changes at the end of experiences.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return what the plugin has kept of the experiences so far."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what :meth:`state_dict` returned."""
        ...


@runtime_checkable
class Accumulating(Protocol):
    """A plugin that gathers something over the steps of an experience."""

    def progress_dict(self) -> dict[str, Any]:
        """Return what the plugin has gathered in the experience so far."""
        ...

    def load_progress_dict(self, progress: dict[str, Any]) -> None:
        """Go back to what :meth:`progress_dict` returned."""
        ...


def remembering(plugins: Iterable[Any]) -> dict[str, Remembering]:
    """Return the remembering plugins by position and class, such as ``7 EWCPlugin``."""
    return {
        f"{position} {type(plugin).__name__}": plugin
        for position, plugin in enumerate(plugins)
        if isinstance(plugin, Remembering)
    }


def accumulating(plugins: Iterable[Any]) -> dict[str, Accumulating]:
    """Return the accumulating plugins by position and class."""
    return {
        f"{position} {type(plugin).__name__}": plugin
        for position, plugin in enumerate(plugins)
        if isinstance(plugin, Accumulating)
    }
