"""What the published programs call the tensors of their networks."""

from collections.abc import Iterator

from continual_repmode.models.experts import EXPERTS

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_REPMODE_EXPERTS = (
    "expert_conv5x5_conv",
    "expert_conv3x3_conv",
    "expert_conv1x1_conv",
    "expert_avg3x3_conv",
    "expert_avg5x5_conv",
)
"""In the order of :data:`~continual_repmode.models.experts.EXPERTS`."""

Names = Iterator[tuple[str, str]]
"""Names of the same tensor in their program and here, without the network's prefix."""


def mode_convs(depth: int) -> list[str]:
    """Return the names of all convolutions with experts in the release."""
    levels = range(1, depth + 1)
    blocks = [
        *(f"encoder_block{i}.conv_more" for i in levels),
        "bottle_block",
        *(f"decoder_block{i}.conv_less" for i in levels),
    ]
    return [f"{block}.conv{k}" for block in blocks for k in (1, 2)] + ["conv_out"]


def repmode_names(depth: int) -> Names:
    """Give the names of the release for a network of so many levels."""
    for theirs in mode_convs(depth):
        place = theirs.replace("_block", "").replace("bottle", "bottleneck")
        place = place.replace(".conv_more", "").replace(".conv_less", "")
        ours = f"unet.{place.replace('conv_out', 'output')}"
        for expert, kind in zip(_REPMODE_EXPERTS, EXPERTS, strict=True):
            yield f"{theirs}.{expert}", f"{ours}.conv.experts.{kind}.weight"
        for part in ("weight", "bias"):
            yield f"{theirs}.gate.{part}", f"{ours}.conv.gate.linear.{part}"
        if theirs != "conv_out":
            yield from _norm(f"{theirs}.subsequent_layer.0", f"{ours}.norm")
    for i in range(1, depth + 1):
        for theirs, ours in (
            (f"encoder_block{i}.conv_down", f"unet.encoder{i}.down"),
            (f"decoder_block{i}.convt", f"unet.decoder{i}.up"),
        ):
            yield f"{theirs}.0.weight", f"{ours}.conv.weight"
            yield from _norm(f"{theirs}.1", f"{ours}.norm")


def fnet_names(depth: int) -> Names:
    """Give the names of ``fnet_nn_3d`` for a network of so many levels."""
    for level in range(1, depth + 2):
        theirs = "net_recurse" + ".sub_u" * (level - 1)
        if level > depth:
            yield from _fnet_pair(f"{theirs}.sub_2conv_more", "bottleneck")
            break
        yield from _fnet_pair(f"{theirs}.sub_2conv_more", f"encoder{level}")
        yield from _fnet_pair(f"{theirs}.sub_2conv_less", f"decoder{level}")
        for conv, norm, ours in (
            ("conv_down", "bn0", f"encoder{level}.down"),
            ("convt", "bn1", f"decoder{level}.up"),
        ):
            yield from _conv(f"{theirs}.{conv}", f"{ours}.conv")
            yield from _norm(f"{theirs}.{norm}", f"{ours}.norm")
    yield from _conv("conv_out", "output.conv")


def _fnet_pair(theirs: str, ours: str) -> Names:
    for k in (1, 2):
        yield from _conv(f"{theirs}.conv{k}", f"{ours}.conv{k}.conv")
        yield from _norm(f"{theirs}.bn{k}", f"{ours}.conv{k}.norm")


def _conv(theirs: str, ours: str) -> Names:
    return ((f"{theirs}.{part}", f"{ours}.{part}") for part in ("weight", "bias"))


def _norm(theirs: str, ours: str) -> Names:
    return ((f"{theirs}.{part}", f"{ours}.{part}") for part in _NORM)
