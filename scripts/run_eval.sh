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

# shellcheck source=scripts/_vit_ms.sh
. "$(dirname "${BASH_SOURCE[0]}")/_vit_ms.sh"
need_first_word "$@"
vit_ms_on_data eval --ckpt_path "$@"
