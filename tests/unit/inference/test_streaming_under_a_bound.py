import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

UNDER_A_BOUND = """
import resource, sys
import numpy as np
from continual_repmode.inference.streaming import predict_stream
from continual_repmode.inference.volume_ends import ArraySink, ArraySource

def predict(windows):
    return 2 * windows + 1

def run(volume, prediction, memory):
    source, sink = ArraySource(volume, mean=3.0, std=2.0), ArraySink(prediction)
    options = {"window": (16, 128, 128), "overlap": 0.1}
    predict_stream(predict, source, sink, memory=memory, **options)

volume, prediction = (np.load(path, mmap_mode=m) for path, m in
                      [(sys.argv[1], "r"), (sys.argv[2], "r+")])
bound = int(sys.argv[3])
small = np.zeros((20, 140, 140), np.float16)
run(small, small.copy(), bound)  # loads what is loaded once
with open("/proc/self/status") as status:
    data = int(next(line for line in status if line.startswith("VmData")).split()[1])
resource.setrlimit(resource.RLIMIT_DATA, (data * 1024 + bound,) * 2)
try:
    run(volume, prediction, None)
except RuntimeError as error:
    print(error)  # so the limit works
run(volume, prediction, bound)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_volume_ten_times_larger_than_the_bound_passes_under_it(
    tmp_path: Path,
) -> None:
    """The kernel refuses every byte beyond the bound.

    RLIMIT_DATA limits private memory, whether touched or not; mapped files are no part
    of it, as the system takes their pages back when it wants.
    """
    shape, bound = (100, 1000, 2000), 40_000_000
    paths = [tmp_path / "volume.npy", tmp_path / "prediction.npy"]
    volume, prediction = (
        np.lib.format.open_memmap(path, "w+", np.float16, shape) for path in paths
    )
    plane = np.arange(2_000_000).reshape(shape[1:]) % 89
    for z in range(shape[0]):
        volume[z] = plane + z % 7
    assert volume.nbytes == 10 * bound

    try:
        done = subprocess.run(
            [sys.executable, "-c", UNDER_A_BOUND, *paths, str(bound)],
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        assert "can't allocate memory" in done.stdout
        for z in (0, 50, 99):
            expected = 2 * (plane + z % 7 - 3.0) / 2.0 + 1
            np.testing.assert_allclose(prediction[z], expected, rtol=2e-3, atol=2e-3)
    finally:
        for path in paths:
            path.unlink()
