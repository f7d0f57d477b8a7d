"""The versions of what a benchmark used."""

import platform
import subprocess
from pathlib import Path

from continual_repmode import __version__
from continual_repmode.runtime import package_versions

PACKAGES = ("torch", "numpy", "monai")


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter."""
    found = {"continual_repmode": _revision(), "python": platform.python_version()}
    return found | package_versions(PACKAGES)


def _revision() -> str:
    """Return the version of this package, with the state of the checkout if any."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always"]
    described = subprocess.run(
        [*command, "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{__version__} ({described})" if described else __version__
