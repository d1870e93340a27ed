#!/usr/bin/env bash
# Say what is in images.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash scripts/run_infer.sh CKPT_PATH IMAGE... [OPTION...]

  CKPT_PATH   the weights, with their run.json beside them
  IMAGE       image files, and folders of them
  OPTION      of `python -m vit_ms predict`, like --output answers.png --device_target Ascend

example: bash scripts/run_infer.sh runs/digits/best.ckpt vit_ms/data/samples/digits
TEXT
}

# shellcheck source=scripts/_vit_ms.sh
. "$(dirname "${BASH_SOURCE[0]}")/_vit_ms.sh"
need_first_word "$@"
if [ $# -lt 2 ]; then
    usage >&2
    exit 2
fi
vit_ms predict --ckpt_path "$@"
