#!/usr/bin/env bash
# What each part of the method brings: trains variants with the same seeds and iterations, measures
# each on the test pictures and prints one table.
#
#   benches/accuracy/run.sh DATA ENCODER TEXTURES OUT [ITERATIONS [SEEDS [VARIANT...]]]
#
# DATA is a folder in MVTec layout, OUT takes the bundles and figures; what is there already is not
# made again, so an interrupted run goes on. SEEDS is a list in one word, e.g. 1,2,3. PRESET in the
# environment is another preset than edge, for what would take too long with it.
set -euo pipefail
data=$1 encoder=$2 textures=$3 out=$4 iterations=${5:-900} seeds=${6:-1}
shift $(($# < 6 ? $# : 6))
here=$(cd "$(dirname "$0")" && pwd)
bin=${CRRD_BIN:-$here/../../target/release}

declare -A switches=(
  [whole]=""
  [no-memory]="--without memory"
  [no-head]="--without head"
  [parity-head]="--head parity"
  [no-repair]="--without repair"
  [mask-0.2]="--mask 0.2"
  [no-mask]="--without mask"
  [perlin-damage]="--mix perlin"
  [distillation]="--without repair,mask,head,memory"
  [dinomaly]="--without repair,mask,memory"
)
order=(whole no-memory no-head parity-head no-repair mask-0.2 no-mask perlin-damage distillation dinomaly)
[ $# -gt 0 ] && order=("$@")

mkdir -p "$out"
for seed in ${seeds//,/ }; do
  for name in "${order[@]}"; do
    to=$out/$name-$seed
    [ -e "$to.json" ] && continue
    # shellcheck disable=SC2086
    "$bin/crrd-train" fit --data "$data" --encoder "$encoder" --textures "$textures" \
      --preset "${PRESET:-edge}" --iterations "$iterations" --seed "$seed" --out "$to" ${switches[$name]} >"$to.log" 2>&1
    "$bin/crrd" evaluate --engine "$to" --data "$data" --json "$to.part" >>"$to.log"
    mv "$to.part" "$to.json"
  done
done
python3 "$here/table.py" "$out"
