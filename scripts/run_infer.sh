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

case ${1:-} in
    -h | --help) usage; exit 0 ;;
    "" | -*) usage >&2; exit 2 ;;
esac
if [ $# -lt 2 ]; then
    usage >&2
    exit 2
fi
ckpt_path=$1
shift
# shellcheck source=scripts/_vit_ms.sh
. "$(dirname "${BASH_SOURCE[0]}")/_vit_ms.sh"
vit_ms predict --ckpt_path "$ckpt_path" "$@"
