"""Finds folders: ``configs/`` and ``scenarios/``, and the user's cache."""

import os
from pathlib import Path

from continual_repmode.errors import UserError


def config_folder() -> Path:
    """Return the folder with ``run.yaml`` and the config groups."""
    return _folder("configs")


def scenario_folder() -> Path:
    """Return the folder with the stream definitions that come with the package."""
    return _folder("scenarios")


def cache_folder(name: str) -> Path:
    """Return a folder of ours in the user's cache, ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Parameters
    ----------
    name : str
        What is kept there.
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "continual_repmode" / name


def _folder(name: str) -> Path:
    """Look inside the package (a wheel puts it there), then beside it (a checkout)."""
    package = Path(__file__).parent
    for candidate in (package / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise UserError(
        f"the folder {name!r} is missing from this installation of continual_repmode: "
        "install the package again"
    )
