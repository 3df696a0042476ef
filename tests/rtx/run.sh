#!/usr/bin/env bash
# Fetches NVIDIA's TensorRT for RTX (a PyPI wheel of 89 MB, x86_64) and lets its builder parse and
# build the shipped model, without a GPU. CRRD_RTX_LIBS: a folder that has the libraries already.
# CRRD_RTX_BUNDLES: more bundles, separated by colons. The output is kept in docs/logs/rtx.txt.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${CRRD_RTX_LIBS:-}" ]; then
  folder=target/rtx
  if [ ! -d "$folder/tensorrt_rtx_libs" ]; then
    mkdir -p "$folder"
    python3 -m pip download --quiet --no-deps --dest "$folder" tensorrt-rtx-cu12-libs==1.7.1.116
    python3 -m zipfile -e "$folder"/tensorrt_rtx_cu12_libs-*.whl "$folder"
    rm -f "$folder"/*.whl
  fi
  CRRD_RTX_LIBS=$PWD/$folder/tensorrt_rtx_libs
fi
export CRRD_RTX_LIBS
cargo test -p crrd --locked --test rtx -- --ignored --nocapture --test-threads 1
