#!/usr/bin/env bash
# What can be measured on a machine with an NVIDIA GPU, in one command:
#
#   benches/gpu/run.sh [BUNDLE...] > gpu.md
#
# Written without a GPU and NOT RUN on one yet. Prints the card and its clocks, the bandwidth of mapped
# pinned memory (bandwidth.py: nothing but Python and the driver), and the latency of each bundle's
# graph by ONNX Runtime (graph.py, in a Python environment of its own below target/).
set -euo pipefail
cd "$(dirname "$0")/../.."
bundles=("$@")
[ "${#bundles[@]}" -gt 0 ] || bundles=(engines/demo)

# On a Jetson there is no nvidia-smi for this; its power mode says as much.
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,power.limit --format=csv
elif command -v nvpmodel >/dev/null; then
  nvpmodel -q
else
  echo "neither nvidia-smi nor nvpmodel is here: no NVIDIA GPU?" >&2
fi
python3 benches/gpu/bandwidth.py

environment=target/gpu-venv
if [ ! -e "$environment/complete" ]; then
  python3 -m venv "$environment"
  # The extras bring the CUDA and cuDNN libraries that the package was built for.
  "$environment/bin/pip" install -q 'onnxruntime-gpu[cuda,cudnn]' numpy
  touch "$environment/complete"
fi
for bundle in "${bundles[@]}"; do
  "$environment/bin/python" benches/gpu/graph.py "$bundle/model.onnx"
done
