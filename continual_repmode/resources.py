"""Finds folders: ``configs/`` and ``scenarios/``, and the user's cache."""

from pathlib import Path

from platformdirs import user_cache_path

from continual_repmode.errors import UserError
from continual_repmode.paths import user_path


def config_folder() -> Path:
    """Return the folder with ``run.yaml`` and the config groups."""
    return _folder("configs")


def scenario_folder() -> Path:
    """Return the folder with the stream definitions that come with the package."""
    return _folder("scenarios")


def cache_folder(name: str) -> Path:
    """Return a folder of ours in the user's cache.

    That is in ``$XDG_CACHE_HOME`` or ``~/.cache`` on Linux, ``~/Library/Caches`` on
    macOS, and the local application data on Windows.
    """
    return user_path(user_cache_path("continual_repmode", appauthor=False)) / name


def _folder(name: str) -> Path:
    """Look inside the package (a wheel puts it there), then next to it (a checkout)."""
    package = Path(__file__).parent
    for candidate in (package / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise UserError(
        f"the folder {name!r} is missing from this installation of continual_repmode: "
        "install the package again"
    )
