#!/usr/bin/env bash
# What can be measured on a machine with an NVIDIA GPU, in one command:
#
#   benches/gpu/run.sh [BUNDLE...] > gpu.md
#
# Written without a GPU and NOT RUN on one yet. Builds the program when there is none yet, then, for each
# bundle in 32 and in 16 bits: `crrd engine build` (TensorRT builds the engine on this device, the golden
# pictures prove it) and `crrd engine bench` (latency, throughput, memory, device and clocks, and trtexec
# beside it when it is installed), then the engine that reads a camera's frames where they lie, built and
# proved, and, with trtexec, the time of each of its kernels: those before and behind the model are what
# preparing the picture and making the answer cost. After that the bandwidth of mapped pinned memory (bandwidth.py:
# nothing but Python and the driver) and, with CRRD_GPU_ORT=1, the latency of each graph by ONNX Runtime (graph.py,
# in a Python environment of its own below target/).
#
# CRRD: the program, when it is built already. CRRD_GPU_LIBS: folder of TensorRT's libraries, when the
# loader does not find them. CRRD_GPU_FRAMES: other frames than the default, as arguments of `crrd engine build`.
set -euo pipefail
cd "$(dirname "$0")/../.."
bundles=("$@")
[ "${#bundles[@]}" -gt 0 ] || bundles=(engines/demo)
if [ -z "${CRRD:-}" ]; then
  cargo build -p crrd --release --locked >&2
  CRRD=target/release/crrd
fi
gpu=(--plans target/gpu-plans)
[ -z "${CRRD_GPU_LIBS:-}" ] || gpu+=(--library-dir "$CRRD_GPU_LIBS")

read -r -a frames <<<"${CRRD_GPU_FRAMES:---format BayerRG8 --size 1920x1200}"
graphs=target/gpu-graphs
mkdir -p "$graphs"
trtexec=$(PATH="$PATH:/usr/src/tensorrt/bin" command -v trtexec || true)
typed=()
# From version 11 on every network is strongly typed, and the flag is gone.
[ -z "$trtexec" ] || ! "$trtexec" --help 2>&1 | grep -q -e --stronglyTyped || typed=(--stronglyTyped)

# The graph of a bundle, a precision and more arguments, written to a file whose name is printed.
graph() {
  local file
  file="$graphs/$(basename "$1")-$2${3:+-frames}.onnx"
  "$CRRD" engine export --engine "$1" --precision "$2" "${@:3}" --out "$file" >&2 && echo "$file"
}

# Time of each kernel, of the engine that trtexec builds from the very graph of ours.
kernels() {
  local file
  file=$(graph "$@") || return 1
  "$trtexec" --onnx="$file" "${typed[@]}" --profilingVerbosity=detailed --dumpProfile \
    --separateProfileRun 2>&1 | sed -n '/=== Profile/,$p'
}

# One that fails is told, and the others are measured all the same.
failed=0
for bundle in "${bundles[@]}"; do
  for precision in fp32 fp16; do
    echo "## $bundle, $precision"
    echo '```'
    "$CRRD" engine build --engine "$bundle" --precision "$precision" "${gpu[@]}" 2>&1 &&
      "$CRRD" engine bench --engine "$bundle" --backend tensorrt --precision "$precision" "${gpu[@]}" 2>&1 ||
      failed=1
    echo '```'
    echo "### Frames: ${frames[*]}"
    echo '```'
    "$CRRD" engine build --engine "$bundle" --precision "$precision" "${frames[@]}" "${gpu[@]}" 2>&1 || failed=1
    if [ -n "$trtexec" ]; then
      kernels "$bundle" "$precision" "${frames[@]}" || failed=1
    else
      echo "trtexec is not installed: no time of each kernel"
    fi
    echo '```'
  done
done
echo "## Mapped pinned memory"
python3 benches/gpu/bandwidth.py || failed=1

if [ -n "${CRRD_GPU_ORT:-}" ]; then
  environment=target/gpu-venv
  if [ ! -e "$environment/complete" ]; then
    python3 -m venv "$environment"
    # The extras bring the CUDA and cuDNN libraries that the package was built for.
    "$environment/bin/pip" install -q 'onnxruntime-gpu[cuda,cudnn]' numpy
    touch "$environment/complete"
  fi
  for bundle in "${bundles[@]}"; do
    for precision in fp32 fp16; do
      "$environment/bin/python" benches/gpu/graph.py "$(graph "$bundle" "$precision")" || failed=1
      "$environment/bin/python" benches/gpu/graph.py "$(graph "$bundle" "$precision" "${frames[@]}")" || failed=1
    done
  done
fi
exit "$failed"
