#!/usr/bin/env bash
# Train on one device.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash scripts/run_standalone_train.sh CONFIG [DATA_DIR] [OPTION...]

  CONFIG     a recipe of vit_ms/recipes, or a YAML file
  DATA_DIR   folder with train/<class>/*.jpg and val/<class>/*.jpg, for recipes that read files
  OPTION     of `python -m vit_ms train`, like --epoch_size 5 --ckpt_save_dir runs/short

examples: bash scripts/run_standalone_train.sh digits --seed 1 --ckpt_save_dir runs/seed1
          bash scripts/run_standalone_train.sh course /data/imagenet_subset --ckpt_path vit_b_16_224.ckpt
TEXT
}

case ${1:-} in
    -h | --help) usage; exit 0 ;;
    "" | -*) usage >&2; exit 2 ;;
esac
config=$1
shift
data_dir=()
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    data_dir=(--data_dir "$1")
    shift
fi
# shellcheck source=scripts/_vit_ms.sh
. "$(dirname "${BASH_SOURCE[0]}")/_vit_ms.sh"
vit_ms train --config "$config" ${data_dir[@]+"${data_dir[@]}"} "$@"
