"""Packages that not everybody needs."""

from importlib.util import find_spec

from continual_repmode.errors import UserError


def require(modules: tuple[str, ...], extra: str, purpose: str) -> None:
    """Make sure that packages are installed; none is imported.

    Raises UserError: with the command that installs them.
    """
    missing = [name for name in modules if not _is_installed(name)]
    if missing:
        raise UserError(
            f"{purpose} lacks {', '.join(missing)}; install with: "
            f'pip install ".[{extra}]" in the folder of the project'
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package that a module belongs to
        return False
