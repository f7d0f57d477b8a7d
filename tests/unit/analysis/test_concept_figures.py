"""The figures of the page on concepts are drawn from what a block computes."""

import runpy
from pathlib import Path

import numpy as np
import torch

from continual_repmode.models import RepModeUNet

SCRIPT = Path(__file__).parents[3] / "docs" / "concept_figures.py"


def test_the_kernels_that_are_drawn_add_up_to_the_merged_one():
    draw = runpy.run_path(str(SCRIPT))
    torch.manual_seed(0)
    net = RepModeUNet(("dna", "mitochondria"), width=2, depth=1).eval()
    conv = next(iter(net.blocks().values())).conv

    figure = draw["merging_figure"](conv)

    *parts, merged = (axes.images[0].get_array() for axes in figure.axes)
    assert len(parts) == 5
    np.testing.assert_allclose(sum(parts), merged, atol=1e-6)
    for name in ("block", "stream"):
        made = draw[f"{name}_figure"](*[conv] * (name == "block"))
        assert len(made.axes[0].patches) > 3
