"""What only the person who publishes a model can say."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """Who publishes a package and how others may use it."""

    #: SPDX identifier, such as ``CC-BY-4.0``.
    license: str
    #: Their names, at least one.
    authors: tuple[str, ...]
