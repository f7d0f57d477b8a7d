"""Damaged files: whatever a decoder raises becomes one line that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from continual_repmode.errors import UserError


@contextmanager
def damage_named(path: Path, problem: str) -> Iterator[None]:
    """Turn any error of a block into a :class:`UserError` of one line.

    Decoders that meet damaged bytes raise whatever they like.

    Parameters
    ----------
    path : Path
        The file that the block reads.
    problem : str
        What an error in the block means, such as ``"not a readable TIFF file"``.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: {problem} ({reason})") from error
