"""What of an image looks like a mistake though it may be right: asked back."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from continual_repmode.tasks import TASK_OF_LABEL, TASKS
from continual_repmode.volumes.choices import channel_role
from continual_repmode.volumes.source_channels import SourceChannel

FEWEST_PLANES = 3
"""Fewer are no stack that a network of 3D kernels could learn or predict from."""
LARGEST_FACTOR = (12.0, 4.0, 4.0)
"""Voxels of the model grid along (z, y, x) that one voxel may become: from 3.5 and
1.2 micrometres on the usual grid. More is blown up beyond what there is to see."""
SMALLEST_FACTOR = 0.05
"""The other way round: voxels of 15 nanometres on the usual grid."""
LEAST_NOISE = 1.9
"""Sharpness of a light that is noise. Where pixels two apart have nothing in common it
is 2, whatever the noise; of 55 channels of 25 real files the largest was 1.73 (a mask),
of real transmitted light 1.43, of generated light 1.52."""
LEAST_SIDE_PX = 32
"""Planes with a shorter side may look like noise by chance."""

_LIGHT = re.compile(
    r"bf|bright(field)?|transmi(tted|ssion)(light)?|trans(light)?|light|tl|tpmt|esid"
    r"|dic|nomarski|phase(contrast)?|ph\d|dodt|oblique|darkfield|label(led)?free"
)
_DYE = re.compile(
    r"dapi|hoechst\w*|h33?342|draq\d|sytox?\w*|pico(green|488)|propidium(iodide)?"
    r"|\w*[cgrby]fp|\w*(cherry|scarleti?|mruby|neongreen|mkate|tomato|dsred|staygold)"
    r"|mturquoise|cerulean|venus|citrine|clover|gcamp\w*|halotag|snaptag"
    r"|alexa\w*|af\d{3}|atto\d*|jf\d{3}|cy[2357]|fitc|tritc|fluorescein|rhodamine\w*"
    r"|texasred|bodipy\w*|cellmask\w*|(mito|lyso|er)tracker\w*|tmr[em]|sir(dna|actin)"
    r"|phalloidin\w*|wga|calcein\w*|nilered|fluo(r|rescen(ce|t))?|immuno\w*"
)
_STRUCTURE = re.compile(
    "|".join(name.replace("_", "") + "s?" for name in (*TASKS, *TASK_OF_LABEL))
    + r"|\w*(actin|tubulin|myosin)|golgi|mitos?|membranes?|nucle(us|i|oli)|chromatin"
    r"|h2b|histones?|lamin\w*|lysosomes?|peroxisomes?|er"
)
"""Words of names, also several in one: what a channel or a file is said to show."""

Role = Literal["light", "target"]


def doubts(
    channel: SourceChannel,
    role: Role,
    voxel_size_um: Sequence[float],
    grid_um: Sequence[float],
    flat: bool = False,
) -> Iterator[str]:
    """Yield what may be a mistake about a channel, as ends of a sentence.

    ``role``: what it is taken for.
    ``voxel_size_um``, ``grid_um``: voxels (z, y, x) of the image and of the model grid,
        in micrometres.
    ``flat``: the network works on single planes, so their number does not matter.
    """
    name = channel.volume.channel_names[channel.channel]
    if role == "target":
        if channel_role(name) == "light":
            yield f"channel {channel.channel} {name!r} is named like no fluorescence"
        return
    if name and _is_said(name, _DYE, _STRUCTURE):
        yield f"channel {channel.channel} {name!r} is named like no transmitted light"
    file = channel.volume.path.name
    # A file of light is often called after the structure that it is paired with.
    if not name and len(channel.volume.channel_names) == 1 and _is_said(file, _DYE):
        yield f"file {file!r} is named like no transmitted light"
    num_planes = channel.shape[0]
    if num_planes < FEWEST_PLANES and not flat:
        planes = "plane is" if num_planes == 1 else "planes are"
        yield f"its {num_planes} {planes} no stack"
    factors = [a / b for a, b in zip(voxel_size_um, grid_um, strict=True)]
    for axis, um, factor, largest in zip(
        "zyx", voxel_size_um, factors, LARGEST_FACTOR, strict=True
    ):
        if not SMALLEST_FACTOR <= factor <= largest:
            yield (
                f"its voxels are {um:g} µm along {axis}, "
                f"{factor:.3g} times those of the model grid"
            )


def noise(channel: SourceChannel) -> Iterator[str]:
    """Yield that a light is nothing but noise, as the end of a sentence.

    Reads the plane in the middle.
    Raises UserError if that is damaged.
    """
    depth, *sides = channel.shape
    if min(sides) < LEAST_SIDE_PX:
        return
    plane = channel.read(slice(depth // 2, depth // 2 + 1))[0].astype(np.float64)
    known = np.isfinite(plane)
    if not known.any():
        return
    plane = np.where(known, plane, plane[known].mean())
    plane = plane.clip(*np.percentile(plane, (0.5, 99.5)))  # hot pixels are no noise
    if detail(plane) >= LEAST_NOISE * plane.var() > 0:
        yield (
            "its light looks like noise: pixels have nothing in common with those two "
            "further on"
        )


def detail(plane: NDArray[Any]) -> float:
    """Return the mean square of steps over two pixels; twice the variance in noise.

    ``plane``: (Y, X), finite floats.
    """
    steps = [plane[2:] - plane[:-2], plane[:, 2:] - plane[:, :-2]]
    return float(np.mean([(step**2).mean() for step in steps if step.size] or 0))


def _is_said(name: str, *kinds: re.Pattern[str]) -> bool:
    """Whether a name says one of some kinds, and nothing of transmitted light.

    Words may be written together or apart, and with a number behind.
    """
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    joined = {
        "".join(words[first : last + 1])
        for first in range(len(words))
        for last in range(first, min(first + 3, len(words)))
    }
    joined |= {word.rstrip("0123456789") for word in joined}
    return not any(map(_LIGHT.fullmatch, joined)) and any(
        kind.fullmatch(word) for kind in kinds for word in joined
    )
