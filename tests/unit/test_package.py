import subprocess
import sys

import pytest

import continual_repmode

HEAVY = "{'torch', 'avalanche', 'hydra', 'omegaconf', 'scipy', 'matplotlib', 'numpy'}"


@pytest.mark.parametrize(
    "module",
    ["continual_repmode", "continual_repmode.__main__", "continual_repmode.run"],
)
def test_importing_the_package_or_its_command_loads_nothing_heavy(module):
    code = f"import sys, {module}; print({HEAVY} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize("name", continual_repmode.__all__)
def test_every_public_name_is_found_where_it_is_said_to_be(name):
    assert getattr(continual_repmode, name).__name__ == name
    assert name in dir(continual_repmode)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'RepMod'"):
        _ = continual_repmode.RepMod
