import subprocess
import sys

HEAVY = ("avalanche", "hydra", "omegaconf", "matplotlib", "scipy", "tensorboard")


def test_importing_the_networks_loads_nothing_but_pytorch():
    code = (
        "import sys, continual_repmode.models\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
