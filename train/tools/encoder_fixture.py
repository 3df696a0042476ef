"""Writes train/tests/fixtures/efficientnet_lite0.json: taps of timm's tf_efficientnet_lite0.

  pip install torch timm numpy
  python train/tools/encoder_fixture.py

Weights and picture come from formulas that train/tests/export_support/mod.rs has in Rust (change
both): no weight file is needed or kept. Tensor names are those of the published PyTorch weights;
timm's own are mapped to them here.
"""
import json
import pathlib

import numpy as np
import timm
import torch

SIDE = 96
PICTURE = 2
VALUES_PER_TAP = 96
MASK = (1 << 64) - 1
STAGES = [1, 2, 2, 3, 3, 4, 1]


def seed(name):
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & MASK
    return h


def uniform(start, count):
    """SplitMix64 of positions 0..count as float32 in [-1, 1)."""
    with np.errstate(over="ignore"):
        z = np.uint64(start) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / (1 << 23) - 1.0).astype(np.float32)


def tensor(name, shape):
    part = name.rsplit(".", 1)[1]
    if part in ("running_mean", "bias"):
        centre, spread = 0.0, 0.25
    elif part == "running_var":
        centre, spread = 1.0, 0.5
    elif "_bn" in name:
        centre, spread = 1.0, 0.25
    else:
        centre, spread = 0.0, np.sqrt(np.float32(6.0) / np.float32(np.prod(shape[1:])))
    values = np.float32(centre) + np.float32(spread) * uniform(seed(name), int(np.prod(shape)))
    return torch.from_numpy(values.reshape(shape))


def picture(side, number):
    noise = uniform(seed(f"picture.{number}"), side * side * 3).reshape(side, side, 3)
    y, x, c = np.meshgrid(np.arange(side), np.arange(side), np.arange(3), indexing="ij")
    gradient = (x * (c + 1) + y * (3 - c)) * 48 // side
    board = 60 * ((x // 16 + y // 16 + number) % 2)
    grain = ((noise + np.float32(1.0)) * np.float32(24.0)).astype(np.int64)
    return np.minimum(gradient + board + grain, 255).astype(np.uint8)


def published(name):
    """The published name of a timm tensor."""
    if name.startswith("conv_stem"):
        return "_" + name
    if name.startswith("bn1."):
        return "_bn0." + name.split(".")[1]
    _, stage, number, layer, part = name.split(".")
    index = sum(STAGES[: int(stage)]) + int(number)
    separable = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    inverted = {
        "conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv",
        "bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2",
    }
    names = separable if stage == "0" else inverted
    return f"_blocks.{index}.{names[layer]}.{part}"


def main():
    model = timm.create_model(
        "tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=(1, 2, 3, 4)
    ).eval()
    state = model.state_dict()
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            state[name] = tensor(published(name), tuple(value.shape))
    model.load_state_dict(state)
    rgb = picture(SIDE, PICTURE).astype(np.float32)
    image = torch.from_numpy((rgb - 127.0) / 128.0).permute(2, 0, 1)[None]
    with torch.no_grad():
        taps = model(image)
    out = {"side": SIDE, "picture": PICTURE, "timm": timm.__version__, "taps": {}}
    for name, tap in zip(("f4", "f8", "f16", "f32"), taps):
        tokens = tap[0].permute(1, 2, 0).reshape(-1).numpy()
        # Positions spread over the whole tap, coprime to its sizes.
        index = [(i * 7919) % tokens.size for i in range(VALUES_PER_TAP)]
        out["taps"][name] = {
            "shape": list(tap.shape[1:]),
            "scale": float(np.abs(tokens).max()),
            "values": [[i, float(tokens[i])] for i in index],
        }
    path = pathlib.Path(__file__).parents[1] / "tests/fixtures/efficientnet_lite0.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(out, separators=(",", ":")) + "\n")
    print(path, path.stat().st_size, "bytes", {n: t["scale"] for n, t in out["taps"].items()})


if __name__ == "__main__":
    main()
