import subprocess
import sys
from pathlib import Path

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


def test_every_public_name_is_found_where_it_is_said_to_be():
    for name in continual_repmode.__all__:
        found = getattr(continual_repmode, name)
        assert found.__name__.rpartition(".")[2] == name
        assert name in dir(continual_repmode)


def test_type_checkers_see_what_users_import(tmp_path):
    """Without the stub, every name would be ``Any``, and no mistake would be found."""
    script = tmp_path / "script.py"
    script.write_text(
        "from continual_repmode import Scenario, predict_volume\n"
        "Scenario(experiences=3)\n"
        "predict_volume(nonsense=1)\n"
    )
    found = subprocess.run(
        [sys.executable, "-m", "mypy", str(script)],
        cwd=Path(__file__).parents[2],  # has the cache of the last check
        capture_output=True,
        text=True,
        check=False,
    )
    assert "script.py:2: error" in found.stdout
    assert 'Unexpected keyword argument "nonsense"' in found.stdout


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="attribute RepMod"):
        _ = continual_repmode.RepMod
