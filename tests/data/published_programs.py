"""The two published networks, said again: names of tensors, and what they compute.

Written from the description of the networks with functions of PyTorch alone, so that an
imported network has something independent to be compared with. A checkpoint is a plain
dictionary of tensors; the forward passes do what the programs do, expert by expert.
"""

import torch
import torch.nn.functional as F

_EXPERTS = (
    "conv5x5_conv",
    "conv3x3_conv",
    "conv1x1_conv",
    "avg3x3_conv",
    "avg5x5_conv",
)
_SIZES = {"conv5x5_conv": 5, "conv3x3_conv": 3}


def _random(generator, *shape):
    return 0.3 * torch.randn(*shape, generator=generator)


def _norm(generator, name, channels):
    return {
        f"{name}.weight": 1 + _random(generator, channels),
        f"{name}.bias": _random(generator, channels),
        f"{name}.running_mean": _random(generator, channels),
        f"{name}.running_var": 1 + _random(generator, channels).abs(),
        f"{name}.num_batches_tracked": torch.tensor(7),
    }


def _normalized(state, name, x):
    keys = ("running_mean", "running_var", "weight", "bias")
    return F.relu(F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys)))


# RepMode: encoder_block1.., bottle_block, decoder_block.., conv_out


def repmode_state(num_tasks, width, depth, seed=0):
    """Return tensors by the names of the release."""
    generator = torch.Generator().manual_seed(seed)
    state = {}

    def mode_conv(name, inputs, outputs):
        for expert in _EXPERTS:
            k = _SIZES.get(expert, 1)
            shape = (outputs, inputs, k, k, k)
            state[f"{name}.expert_{expert}"] = _random(generator, *shape)
        for k in (3, 5):
            state[f"{name}.expert_avg{k}x{k}_pool"] = torch.ones(k, k, k) / k**3
        state[f"{name}.gate.weight"] = 3 * _random(generator, 5 * outputs, num_tasks)
        state[f"{name}.gate.bias"] = _random(generator, 5 * outputs)
        if name != "conv_out":
            state.update(_norm(generator, f"{name}.subsequent_layer.0", outputs))

    def pair(name, inputs, outputs):
        mode_conv(f"{name}.conv1", inputs, outputs)
        mode_conv(f"{name}.conv2", outputs, outputs)

    channels = [1, *(width * 2**i for i in range(depth + 1))]
    for i in range(1, depth + 1):
        below, here, above = channels[i - 1 : i + 2]
        pair(f"encoder_block{i}.conv_more", below, here)
        down = f"encoder_block{i}.conv_down"
        state[f"{down}.0.weight"] = _random(generator, here, here, 2, 2, 2)
        state.update(_norm(generator, f"{down}.1", here))
        up = f"decoder_block{i}.convt"
        state[f"{up}.0.weight"] = _random(generator, above, here, 2, 2, 2)
        state.update(_norm(generator, f"{up}.1", here))
        pair(f"decoder_block{i}.conv_less", above, here)
    pair("bottle_block", *channels[-2:])
    mode_conv("conv_out", width, 1)
    return state


def repmode_forward(state, depth, x, task):
    """Predict x (B, 1, Z, Y, X) for one task, each expert on its own."""

    def mode_conv(name, x):
        gate = state[f"{name}.gate.weight"][:, task] + state[f"{name}.gate.bias"]
        gates = gate.reshape(5, -1).softmax(dim=0)
        total = 0
        for weights, expert in zip(gates, _EXPERTS, strict=True):
            seen, size = x, _SIZES.get(expert, 1)
            if expert.startswith("avg"):
                k = int(expert[3])
                seen = F.avg_pool3d(F.pad(x, (k // 2,) * 6), k, stride=1)
            seen = F.conv3d(seen, state[f"{name}.expert_{expert}"], padding=size // 2)
            total = total + weights[:, None, None, None] * seen
        if name == "conv_out":
            return total
        return _normalized(state, f"{name}.subsequent_layer.0", total)

    def pair(name, x):
        return mode_conv(f"{name}.conv2", mode_conv(f"{name}.conv1", x))

    skips = []
    for i in range(1, depth + 1):
        skips.append(pair(f"encoder_block{i}.conv_more", x))
        down = f"encoder_block{i}.conv_down"
        x = F.conv3d(skips[-1], state[f"{down}.0.weight"], stride=2)
        x = _normalized(state, f"{down}.1", x)
    x = pair("bottle_block", x)
    for i in range(depth, 0, -1):
        up = f"decoder_block{i}.convt"
        x = F.conv_transpose3d(x, state[f"{up}.0.weight"], stride=2)
        x = torch.cat([skips[i - 1], _normalized(state, f"{up}.1", x)], dim=1)
        x = pair(f"decoder_block{i}.conv_less", x)
    return mode_conv("conv_out", x)


# fnet: net_recurse, in which sub_u is the level below, and conv_out


def fnet_state(width, depth, seed=0):
    """Return tensors by the names of pytorch_fnet."""
    generator = torch.Generator().manual_seed(seed)
    state = {}

    def conv(name, *shape, bias):
        state[f"{name}.weight"] = _random(generator, *shape)
        state[f"{name}.bias"] = _random(generator, bias)

    def pair(name, inputs, outputs):
        for k, channels in ((1, inputs), (2, outputs)):
            conv(f"{name}.conv{k}", outputs, channels, 3, 3, 3, bias=outputs)
            state.update(_norm(generator, f"{name}.bn{k}", outputs))

    def level(name, inputs, outputs, depth):
        pair(f"{name}.sub_2conv_more", inputs, outputs)
        if depth == 0:
            return
        pair(f"{name}.sub_2conv_less", 2 * outputs, outputs)
        conv(f"{name}.conv_down", outputs, outputs, 2, 2, 2, bias=outputs)
        state.update(_norm(generator, f"{name}.bn0", outputs))
        conv(f"{name}.convt", 2 * outputs, outputs, 2, 2, 2, bias=outputs)
        state.update(_norm(generator, f"{name}.bn1", outputs))
        level(f"{name}.sub_u", outputs, 2 * outputs, depth - 1)

    level("net_recurse", 1, width, depth)
    conv("conv_out", 1, width, 3, 3, 3, bias=1)
    return state


def fnet_forward(state, depth, x):
    """Predict x (B, 1, Z, Y, X)."""

    def of(name):
        return state[f"{name}.weight"], state[f"{name}.bias"]

    def pair(name, x):
        for k in (1, 2):
            x = F.conv3d(x, *of(f"{name}.conv{k}"), padding=1)
            x = _normalized(state, f"{name}.bn{k}", x)
        return x

    def level(name, x, depth):
        more = pair(f"{name}.sub_2conv_more", x)
        if depth == 0:
            return more
        down = F.conv3d(more, *of(f"{name}.conv_down"), stride=2)
        below = level(
            f"{name}.sub_u", _normalized(state, f"{name}.bn0", down), depth - 1
        )
        up = F.conv_transpose3d(below, *of(f"{name}.convt"), stride=2)
        joined = torch.cat([more, _normalized(state, f"{name}.bn1", up)], dim=1)
        return pair(f"{name}.sub_2conv_less", joined)

    return F.conv3d(level("net_recurse", x, depth), *of("conv_out"), padding=1)
