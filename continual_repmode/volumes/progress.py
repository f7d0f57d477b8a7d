"""A progress bar that counts bytes."""

from typing import NoReturn

from tqdm import tqdm


def byte_bar(
    doing: str, num_bytes: int, *, shown: bool = True, begun: int = 0
) -> "tqdm[NoReturn]":
    """Return a bar with size, rate and time left, on terminals only.

    ``shown``: False for no bar at all.
    ``begun``: how much of it was there before.
    """
    return tqdm(
        desc=doing,
        total=num_bytes,
        initial=begun,
        unit="B",
        unit_scale=True,
        disable=None if shown else True,
    )
