"""INT8 of an exported graph on the CPU: time, scores and accuracy against FP32, for ADR 0016.

Static quantisation with explicit Q/DQ by ONNX Runtime's own tool, per channel, from pictures of
good parts. Needs the Python packages onnxruntime, onnx, numpy, pillow and safetensors:

    crrd render-parts --out parts --seed 77
    python benches/int8/int8.py --bundle engines/demo --data parts --out int8

Writes a bundle for each variant below OUT: `CRRD_ENGINE=OUT/encoder cargo bench --bench inference`
times it in tract, `crrd evaluate --engine OUT/encoder` measures it there.
"""

import argparse
import hashlib
import pathlib
import shutil
import statistics
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from PIL import Image
from safetensors.numpy import load_file, save_file

# The loosest self-check that the station accepts: engines round INT8 differently.
TOLERANCE = 0.1
ROUNDS = 101
WEIGHED = ("Conv", "MatMul")


def picture(path, side):
    return np.asarray(Image.open(path).convert("RGB").resize(side, Image.BILINEAR))[None]


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Good(CalibrationDataReader):
    """Good training parts, every fourth: the ranges of the activations come from them."""

    def __init__(self, data, side):
        self.files = iter(sorted(data.glob("*/train/good/*"))[::4])
        self.side = side

    def get_next(self):
        path = next(self.files, None)
        return None if path is None else {"image": picture(path, self.side)}


def fold(source, target):
    """Half-precision weights become FP32 constants: the tool quantises constants only."""
    model = onnx.load(source)
    constants = {i.name: i for i in model.graph.initializer}
    casts = [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in constants]
    for cast in casts:
        weights = numpy_helper.to_array(constants[cast.input[0]]).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, cast.output[0]))
        model.graph.initializer.remove(constants[cast.input[0]])
        model.graph.node.remove(cast)
    onnx.save(model, target)


def is_depthwise(node):
    return any(a.name == "group" and a.i > 1 for a in node.attribute)


def weighed(model, parts, depthwise):
    """Names of the nodes of these parts of the graph that have constant weights."""
    constants = {i.name for i in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in WEIGHED
        and node.name.startswith(parts)
        and (depthwise or not is_depthwise(node))
        and any(i in constants for i in node.input[1:])
    ]


def quantise(folded, target, nodes, reader):
    quantize_static(
        str(folded),
        str(target),
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        nodes_to_quantize=nodes,
        # Only the weighed nodes: what lies between them stays FP32.
        op_types_to_quantize=list(WEIGHED),
    )


def bundle(source, model, target):
    """A copy of the bundle with another graph, whose own answers are its golden ones."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    manifest = (target / "manifest.toml").read_text()
    sha256 = lambda name: hashlib.sha256((target / name).read_bytes()).hexdigest()
    replaced = ("model.onnx", "golden.safetensors")
    old = [sha256(name) for name in replaced]
    shutil.copy(model, target / "model.onnx")
    golden, runs = load_file(source / "golden.safetensors"), session(model)
    for name in [name for name in golden if name.startswith("image.")]:
        found, score = runs.run(["anomaly_map", "score"], {"image": golden[name][None]})
        number = name.removeprefix("image.")
        golden[f"anomaly_map.{number}"] = found[0, 0]
        golden[f"score.{number}"] = score
    save_file(golden, target / "golden.safetensors")
    for name, before in zip(replaced, old):
        manifest = manifest.replace(before, sha256(name))
    lines = [
        f"tolerance = {TOLERANCE}" if line.startswith("tolerance") else line
        for line in manifest.splitlines()
    ]
    (target / "manifest.toml").write_text("\n".join(lines) + "\n")


def auroc(good, bad):
    """Probability that a bad part scores above a good one."""
    good, bad = np.asarray(good)[:, None], np.asarray(bad)[None]
    return float(np.mean((bad > good) + 0.5 * (bad == good)))


def scores(model, data, side):
    """Score and map of every test picture, by class: {class: ([good], [bad])}, maps."""
    by_class, maps = {}, []
    for folder in sorted(p for p in data.iterdir() if (p / "test").is_dir()):
        sides = ([], [])
        for path in sorted((folder / "test").glob("*/*")):
            found, score = model.run(["anomaly_map", "score"], {"image": picture(path, side)})
            sides[path.parent.name != "good"].append(float(score[0]))
            maps.append(found)
        by_class[folder.name] = sides
    return by_class, maps


def times(models, side):
    """Median milliseconds of each model, in turns on one thread."""
    noise = np.random.default_rng(1).integers(0, 256, (1, side[1], side[0], 3), dtype=np.uint8)
    taken = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            begin = time.perf_counter()
            model.run(None, {"image": noise})
            taken[name].append((time.perf_counter() - begin) * 1e3)
    return {name: statistics.median(all_) for name, all_ in taken.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--bundle", "--data", "--out"):
        parser.add_argument(name, required=True, type=pathlib.Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    source = args.bundle / "model.onnx"
    side = [d.dim_value for d in onnx.load(source).graph.input[0].type.tensor_type.shape.dim][2:0:-1]
    folded = args.out / "folded.onnx"
    fold(source, folded)
    models = {"fp32": session(source)}
    # (parts of the graph, depthwise convolutions too). The heads stay FP32 in all of them.
    decoder = ("bottleneck", "tap", "block", "out")
    variants = {
        "encoder": (("encoder",), True),
        "encoder-dense": (("encoder",), False),
        "encoder-decoder": (("encoder", *decoder), True),
        "decoder": (decoder, True),
    }
    for name, (parts, depthwise) in variants.items():
        target = args.out / f"{name}.onnx"
        nodes = weighed(onnx.load(folded), parts, depthwise)
        quantise(folded, target, nodes, Good(args.data, side))
        print(f"{name}: {len(nodes)} nodes quantised, {target.stat().st_size} bytes")
        bundle(args.bundle, target, args.out / name)
        models[name] = session(target)
    took = times(models, side)
    reference, reference_maps = scores(models["fp32"], args.data, side)
    for name, model in models.items():
        found, maps = scores(model, args.data, side)
        flat = lambda by_class: np.concatenate([g + b for g, b in by_class.values()])
        off = np.abs(flat(found) - flat(reference))
        worst = max(float(np.abs(a - b).max()) for a, b in zip(maps, reference_maps))
        print(
            f"{name}: {took[name]:.2f} ms, image AUROC "
            + " ".join(f"{c} {auroc(g, b):.3f}" for c, (g, b) in found.items())
            + f"; score off by {off.mean():.4f} on average, {off.max():.4f} at most, map {worst:.3f}"
        )


if __name__ == "__main__":
    main()
