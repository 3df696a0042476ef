"""Latency of an exported graph on a GPU, batch 1, by ONNX Runtime: a first figure for a card
before an engine is built for it.

Written without a GPU and NOT RUN on one yet (with --provider CPUExecutionProvider it was). Needs the
Python packages onnxruntime-gpu and numpy and the CUDA libraries that it names.

    python3 benches/gpu/graph.py engines/demo/model.onnx

`crrd engine export` writes the graph in 16 bits or with a camera's frames as its input (run.sh measures all).
"""

import argparse
import sys
import time

import numpy as np
import onnxruntime as ort

WARM_UP = 50
RUNS = 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--provider", default="CUDAExecutionProvider")
    args = parser.parse_args()
    session = ort.InferenceSession(args.model, providers=[args.provider])
    # Another provider is taken silently when this one cannot be started.
    if session.get_providers()[0] != args.provider:
        sys.exit(f"{args.provider} is not usable here: {session.get_providers()}")
    graph_input = session.get_inputs()[0]
    noise = np.random.default_rng(1).integers(0, 256, graph_input.shape, dtype=np.uint8)
    times = []
    for _ in range(WARM_UP + RUNS):
        begin = time.perf_counter()
        session.run(None, {graph_input.name: noise})
        times.append((time.perf_counter() - begin) * 1e3)
    p50, p95, p99 = np.percentile(times[WARM_UP:], [50, 95, 99])
    print(f"{args.model} on {args.provider}: p50 {p50:.3f} p95 {p95:.3f} p99 {p99:.3f} ms, copies included")


if __name__ == "__main__":
    main()
