import json
import subprocess
import sys

import numpy as np
import torch

from continual_repmode.exporting.export import export_task
from continual_repmode.models.deploy import OneTask

ELSEWHERE = """
import json, sys
import numpy as np
import torch
extra = {"metadata.json": ""}
module = torch.export.load("task.pt2", extra_files=extra).module()
for index in range(3):
    signal = torch.from_numpy(np.load(f"signal{index}.npy"))
    with torch.no_grad():
        np.save(f"prediction{index}.npy", module(signal).numpy())
assert not [name for name in sys.modules if name.startswith("continual_repmode")]
print(extra["metadata.json"])
"""


def test_a_program_runs_in_a_process_without_this_package(make_model, tmp_path):
    source = make_model(depth=1)
    done = export_task(source, "lysosome", "torch", tmp_path / "task.pt2")
    assert done.num_bytes == (tmp_path / "task.pt2").stat().st_size
    assert done.deviation.relative < 1e-5
    rng = np.random.default_rng(0)
    shapes = [(1, 1, 9, 10, 11), (2, 1, 4, 8, 12), (1, 1, 1, 3, 5)]
    signals = [rng.standard_normal(shape, np.float32) for shape in shapes]
    for index, signal in enumerate(signals):
        np.save(tmp_path / f"signal{index}.npy", signal)
    process = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["task"] == "lysosome"
    for index, signal in enumerate(signals):
        with torch.no_grad():
            expected = OneTask(source.net, "lysosome")(torch.from_numpy(signal)).numpy()
        got = np.load(tmp_path / f"prediction{index}.npy")
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())
