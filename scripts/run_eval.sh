#!/usr/bin/env bash
# Measure a checkpoint on held-out images.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash scripts/run_eval.sh CKPT_PATH [DATA_DIR] [OPTION...]

  CKPT_PATH   the weights, with their run.json beside them
  DATA_DIR    of the images, where it is not the one of the training
  OPTION      of `python -m vit_ms eval`, like --split val --device_target Ascend

examples: bash scripts/run_eval.sh runs/digits/best.ckpt
          bash scripts/run_eval.sh vit_b_16_224.ckpt /data/imagenet_subset --config course
TEXT
}

case ${1:-} in
    -h | --help) usage; exit 0 ;;
    "" | -*) usage >&2; exit 2 ;;
esac
ckpt_path=$1
shift
data_dir=()
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    data_dir=(--data_dir "$1")
    shift
fi
# shellcheck source=scripts/_vit_ms.sh
. "$(dirname "${BASH_SOURCE[0]}")/_vit_ms.sh"
vit_ms eval --ckpt_path "$ckpt_path" ${data_dir[@]+"${data_dir[@]}"} "$@"
