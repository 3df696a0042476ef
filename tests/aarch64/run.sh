#!/usr/bin/env bash
# Builds the whole program for aarch64 (the Jetson) on an amd64 Debian and runs it under QEMU's
# user emulation: which glibc it needs, the unit tests, `crrd demo`, and NVIDIA's builder for that
# processor (TensorRT for RTX from PyPI) on the shipped model. No board, no cross toolchain
# of rustup: Debian's own compiler and its arm64 standard library are unpacked side by side.
# About 400 MB of packages the first time; the builds take an hour on two cores.
#
#   tests/aarch64/run.sh [LOG]
#
# Environment: JOBS (2) compile jobs; STEPS (program tests rtx demo) what of it is done;
# PROPTEST_CASES (16) random cases a property is tried with; CRRD_RTX_BUNDLES as in tests/rtx/run.sh;
# DEMO_BY a command that starts the emulated demo, such as "chrt -f 1" on a machine with other work.
# Prints what it does (also to LOG) and exits with 0 when every step passed.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$PWD/target/aarch64
log=${1:-$work/run.log}
mkdir -p "$work" "$(dirname "$log")"
target=aarch64-unknown-linux-gnu
# JetPack 6 is Ubuntu 22.04.
GLIBC_MAX=2.35

if [ "$(dpkg --print-architecture)" != amd64 ]; then
  echo "this script is for Debian on amd64" >&2
  exit 2
fi

# What is printed goes to the log too, without this folder's place on the machine.
exec > >(sed -u "s|$PWD/||g" | tee "$log") 2>&1
step() { printf '\n== %s\n' "$*"; }

step "tools"
need=()
command -v aarch64-linux-gnu-gcc >/dev/null || need+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
command -v qemu-aarch64-static >/dev/null || need+=(qemu-user-static)
if [ "${#need[@]}" -gt 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi

# Compiler and host library of amd64, standard library of arm64; the arm64 package lists are kept
# apart, so that the machine's own apt never hears of a second architecture.
if [ ! -e "$work/toolchain/complete" ]; then
  rm -rf "$work/debs" "$work/apt" "$work/toolchain"
  mkdir -p "$work"/{debs,toolchain} "$work"/apt/lists/partial "$work"/apt/cache/archives/partial
  std=$(apt-cache depends libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9].*\)$/\1/p' | head -1)
  llvm=$(apt-cache depends rustc-web "$std" | sed -n 's/.*Depends: \(libllvm[0-9]*\)$/\1/p' | head -1)
  arm=(-oAPT::Architecture=arm64 -oAPT::Architectures=arm64
    -oDir::State::Lists="$work/apt/lists" -oDir::Cache="$work/apt/cache")
  (
    cd "$work/debs"
    apt-get download -qq rustc-web libstd-rust-web-dev "$std" "$llvm"
    apt-get "${arm[@]}" update -qq
    apt-get "${arm[@]}" download -qq libstd-rust-web-dev "$std"
    for package in *.deb; do dpkg -x "$package" "$work/toolchain"; done
  )
  touch "$work/toolchain/complete"
fi
export RUSTC=$work/toolchain/usr/bin/rustc LD_LIBRARY_PATH=$work/toolchain/usr/lib/x86_64-linux-gnu
export CARGO_TARGET_DIR=$work/build CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_TERM_COLOR=never
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
emulator=(qemu-aarch64-static -L /usr/aarch64-linux-gnu)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="${emulator[*]}"
export PROPTEST_CASES=${PROPTEST_CASES:-16}
"$RUSTC" --version
aarch64-linux-gnu-gcc --version | head -1
"${emulator[0]}" --version | head -1

build=(-p crrd --locked --release --target "$target" -j "${JOBS:-2}")
program=$work/build/$target/release/crrd

program() {
  step "build the program for $target"
  cargo build -q "${build[@]}" --bin crrd
  aarch64-linux-gnu-readelf -h "$program" | grep -E 'Class|Machine|Type'
  echo "size: $(stat -c %s "$program") bytes"
  echo "libraries: $(aarch64-linux-gnu-readelf -d "$program" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | tr '\n' ' ')"

  step "highest glibc symbol, at most $GLIBC_MAX"
  highest=$(aarch64-linux-gnu-objdump -T "$program" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
  echo "$highest"
  printf '%s\n' "${highest#GLIBC_}" "$GLIBC_MAX" | sort -CV || {
    echo "needs a newer glibc than the board has" >&2
    exit 1
  }
}

tests() {
  step "unit tests of the station, PROPTEST_CASES=$PROPTEST_CASES"
  cargo test -q "${build[@]}" --lib -- --test-threads "${JOBS:-2}"
}

rtx() {
  step "NVIDIA's builder for this processor on the shipped model"
  local folder=$work/rtx
  if [ ! -d "$folder/tensorrt_rtx_libs" ]; then
    mkdir -p "$folder"
    env -u LD_LIBRARY_PATH python3 -m pip download --quiet --no-deps --only-binary=:all: \
      --platform manylinux_2_35_aarch64 --dest "$folder" tensorrt-rtx-cu13-libs==1.7.1.116
    env -u LD_LIBRARY_PATH python3 -m zipfile -e "$folder"/tensorrt_rtx_cu13_libs-*.whl "$folder"
    rm -f "$folder"/*.whl
  fi
  aarch64-linux-gnu-readelf -h "$folder"/tensorrt_rtx_libs/libtensorrt_rtx.so.1 | grep Machine
  CRRD_RTX_LIBS=$folder/tensorrt_rtx_libs \
    cargo test -q "${build[@]}" --test rtx -- --ignored --nocapture --test-threads 1
}

demo() {
  step "crrd demo --parts 5"
  "${emulator[@]}" "$program" --version
  rm -rf "$work/demo" && mkdir -p "$work/demo"
  local by
  read -ra by <<< "${DEMO_BY:-}"
  # An emulated inference takes seconds: so slow that each part is judged before the next one comes.
  (cd "$work/demo" && "${by[@]}" "${emulator[@]}" "$program" demo --parts 5 --rate 0.1) |
    tee "$work/demo.log"
  # Every part has a verdict, and every verdict arrived.
  grep -q '"invalid":0,.*"parts":5,.*"received":5,' "$work/demo.log"
}

for each in ${STEPS:=program tests rtx demo}; do "$each"; done
step "passed: $STEPS"
