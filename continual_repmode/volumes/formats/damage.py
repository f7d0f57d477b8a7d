"""Damaged files: whatever a decoder raises becomes one line that names the file."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from continual_repmode.errors import UserError
from continual_repmode.volumes.volume import check_fetched

_MAX_JSON_BYTES = 2**24
_MAX_XML_BYTES = 2**27
"""Far more than there is to say about an image; what is larger belongs to no image."""


@contextmanager
def damage_named(path: Path, problem: str) -> Iterator[None]:
    """Turn any error of a block into a :class:`UserError` of one line.

    Decoders that meet damaged bytes raise whatever they like.

    ``problem``: what an error in the block means, such as ``"not a readable TIFF
        file"``.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: {problem} ({reason})") from error


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of an image.

    Raises UserError if it is missing, damaged, or far too large.
    """
    with damage_named(path, "damaged JSON"):
        return json.loads(_read_metadata(path, _MAX_JSON_BYTES))


def read_xml(path: Path) -> bytes:
    """Return an XML file of an image, not parsed yet.

    Raises UserError if it is missing or far too large.
    """
    return _read_metadata(path, _MAX_XML_BYTES)


def _read_metadata(path: Path, max_bytes: int) -> bytes:
    check_fetched(path)
    size = path.stat().st_size
    if size > max_bytes:
        raise UserError(
            f"{path}: {size / 1e6:.0f} MB are too many for what is said about an "
            "image; move the file away if it belongs to something else"
        )
    return path.read_bytes()
