"""Writes train/tests/fixtures/*.json: taps of encoders by timm and torchvision.

  pip install torch torchvision timm numpy
  python train/tools/encoder_fixture.py [NAME ...]

Weights and pictures come from formulas that train/tests/export_support/mod.rs has in Rust (change
both): no weight file is needed or kept. Tensor names are those that crrd-train reads; timm's own
of EfficientNet-Lite are mapped to them here.
"""
import json
import pathlib
import sys

import numpy as np
import timm
import torch
import torchvision
from timm.models.vision_transformer import VisionTransformer

MASK = (1 << 64) - 1
FIXTURES = pathlib.Path(__file__).parents[1] / "tests/fixtures"
CNN_TAPS = ("f4", "f8", "f16", "f32")
IMAGENET = (np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225]))


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
    part = name.rsplit(".", 1)[-1]
    if part in ("running_mean", "bias", "cls_token", "reg_token", "pos_embed"):
        centre, spread = 0.0, 0.25
    elif part in ("running_var", "gamma"):
        centre, spread = 1.0, 0.5
    elif len(shape) == 1:
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


def planes(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def imagenet(rgb):
    return planes((rgb.astype(np.float32) / np.float32(255.0) - IMAGENET[0]) / IMAGENET[1])


def fill(model, renamed=lambda name: name):
    """Weights by formula; returns the model, ready to run."""
    state = model.state_dict()
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            state[name] = tensor(renamed(name), tuple(value.shape))
    model.load_state_dict(state)
    return model.eval()


def published(name, stages):
    """The published name of a tensor of timm's EfficientNet-Lite."""
    if name.startswith("conv_stem"):
        return "_" + name
    if name.startswith("bn1."):
        return "_bn0." + name.split(".")[1]
    _, stage, number, layer, part = name.split(".")
    index = sum(stages[: int(stage)]) + int(number)
    separable = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    inverted = {
        "conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv",
        "bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2",
    }
    names = separable if stage == "0" else inverted
    return f"_blocks.{index}.{names[layer]}.{part}"


def lite(name, side, number):
    stages = [1, 2, 2, 3, 3, 4, 1] if name.endswith("0") else [1, 3, 3, 4, 4, 5, 1]
    model = timm.create_model(
        "tf_" + name, pretrained=False, features_only=True, out_indices=(1, 2, 3, 4)
    )
    fill(model, lambda timm_name: published(timm_name, stages))
    image = planes((picture(side, number).astype(np.float32) - 127.0) / 128.0)
    return dict(zip(CNN_TAPS, (tap[0].permute(1, 2, 0) for tap in model(image))))


def resnet(name, side, number):
    model = fill(getattr(torchvision.models, name)(weights=None))
    x = model.maxpool(model.relu(model.bn1(model.conv1(imagenet(picture(side, number))))))
    taps = {}
    for tap, layer in zip(CNN_TAPS, (model.layer1, model.layer2, model.layer3, model.layer4)):
        x = layer(x)
        taps[tap] = x[0].permute(1, 2, 0)
    return taps


def positions(table, grid):
    """The position table on the grid, as DINOv2 does it. `table` is [1, side * side, channels]."""
    side = int(table.shape[1] ** 0.5)
    square = table.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = (grid + 0.1) / side
    out = torch.nn.functional.interpolate(square, scale_factor=(scale, scale), mode="bicubic")
    assert out.shape[-1] == grid
    return out.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)


def vit(width, heads, depth, table, side, number, taps):
    grid = side // 14
    model = VisionTransformer(
        img_size=side, patch_size=14, embed_dim=width, depth=depth, num_heads=heads,
        init_values=1.0, reg_tokens=4, no_embed_class=True, num_classes=0,
    )
    fill(model)
    with torch.no_grad():
        model.pos_embed.copy_(positions(tensor("pos_embed", (1, table * table, width)), grid))
    x = model.norm_pre(model._pos_embed(model.patch_embed(imagenet(picture(side, number)))))
    states = []
    for block in model.blocks:
        x = block(x)
        states.append(x[0])
    mean = lambda blocks: torch.stack([states[b] for b in blocks]).mean(0)
    return {"b" + "+".join(map(str, blocks)): mean(blocks) for blocks in taps}


ENCODERS = {
    "efficientnet_lite0": lambda: (96, 2, lite("efficientnet_lite0", 96, 2)),
    "efficientnet_lite1": lambda: (64, 1, lite("efficientnet_lite1", 64, 1)),
    "efficientnet_lite2": lambda: (64, 1, lite("efficientnet_lite2", 64, 1)),
    "resnet18": lambda: (64, 1, resnet("resnet18", 64, 1)),
    "resnet50": lambda: (64, 1, resnet("resnet50", 64, 1)),
    "wide_resnet50_2": lambda: (64, 1, resnet("wide_resnet50_2", 64, 1)),
    # A reduced shape, and the smallest published one on a small picture.
    "vit_reduced": lambda: (70, 1, vit(48, 3, 10, 7, 70, 1, [[2, 3, 4, 5], [6, 7, 8, 9], [2], [9]])),
    "vit_small_patch14_reg4_dinov2": lambda: (
        98, 1, vit(384, 6, 12, 37, 98, 1, [[2, 3, 4, 5], [6, 7, 8, 9]])
    ),
}


def write(name, value):
    path = FIXTURES / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")
    print(path, path.stat().st_size, "bytes")


def fixture(name):
    with torch.no_grad():
        side, number, taps = ENCODERS[name]()
    count = 96 if name == "efficientnet_lite0" else 48
    versions = {"timm": timm.__version__, "torchvision": torchvision.__version__}
    out = {"side": side, "picture": number, **versions, "taps": {}}
    for tap, values in taps.items():
        shape = list(values.shape)
        flat = values.reshape(-1).numpy()
        # Positions spread over the whole tap, coprime to its sizes.
        index = [(i * 7919) % flat.size for i in range(count)]
        out["taps"][tap] = {
            # [channels, height, width] of pictures, [tokens, channels] of tokens.
            "shape": [shape[2], *shape[:2]] if len(shape) == 3 else shape,
            "scale": float(np.abs(flat).max()),
            "values": [[i, float(flat[i])] for i in index],
        }
        print(name, tap, out["taps"][tap]["scale"])
    write(name, out)


def table_fixture():
    """One channel of the published table's size, brought to two grids."""
    table = tensor("pos_embed", (1, 37 * 37, 1))
    grids = {str(grid): positions(table, grid).reshape(-1).tolist() for grid in (28, 20)}
    write("vit_positions", {"torch": torch.__version__, "table": 37, "grids": grids})


if __name__ == "__main__":
    chosen = sys.argv[1:] or [*ENCODERS, "vit_positions"]
    for wanted in chosen:
        table_fixture() if wanted == "vit_positions" else fixture(wanted)
