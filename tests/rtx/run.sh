#!/usr/bin/env bash
# Fetches NVIDIA's TensorRT for RTX (a PyPI wheel of 89 MB, x86_64) and lets its builder parse and
# build, without a GPU, the shipped model and every preset in its real size, weights by formula.
# The output is kept in docs/logs/rtx.txt.
#
# Environment: CRRD_RTX_LIBS a folder that has the libraries already; PRESETS (edge accurate paper-s
# paper-b paper-b-parity: with the published head) which presets; CRRD_RTX_BUNDLES more bundles,
# separated by colons. 4 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$PWD/target/rtx
mkdir -p "$folder"
if [ -z "${CRRD_RTX_LIBS:-}" ]; then
  if [ ! -d "$folder/tensorrt_rtx_libs" ]; then
    python3 -m pip download --quiet --no-deps --dest "$folder" tensorrt-rtx-cu12-libs==1.7.1.116
    python3 -m zipfile -e "$folder"/tensorrt_rtx_cu12_libs-*.whl "$folder"
    rm -f "$folder"/*.whl
  fi
  CRRD_RTX_LIBS=$folder/tensorrt_rtx_libs
fi
export CRRD_RTX_LIBS
read -ra presets <<< "${PRESETS:-edge accurate paper-s paper-b paper-b-parity}"
cargo build -q -p crrd -p crrd-train --locked --example untrained
"${CARGO_TARGET_DIR:-target}"/debug/examples/untrained "$folder/untrained" "${presets[@]}"
for preset in "${presets[@]}"; do
  CRRD_RTX_BUNDLES=${CRRD_RTX_BUNDLES:+$CRRD_RTX_BUNDLES:}$folder/untrained/$preset
done
export CRRD_RTX_BUNDLES
# The same packages as above, so that nothing is built twice.
cargo test -q -p crrd -p crrd-train --locked --test rtx -- --ignored --nocapture --test-threads 1
