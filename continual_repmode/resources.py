"""Finds the ``configs/`` and ``scenarios/`` folders, in a checkout or a wheel."""

from pathlib import Path

from continual_repmode.errors import UserError


def config_folder() -> Path:
    """Return the folder with ``run.yaml`` and the config groups."""
    return _folder("configs")


def scenario_folder() -> Path:
    """Return the folder with the stream definitions that come with the package."""
    return _folder("scenarios")


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
