#!/usr/bin/env bash
# Write a checkpoint for other programs: MINDIR, ONNX, or safetensors under the names of timm or Hugging Face.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash scripts/run_export.sh CKPT_PATH FORMAT [OPTION...]

  CKPT_PATH   the weights, with their run.json beside them
  FORMAT      mindir, onnx or safetensors
  OPTION      of `python -m vit_ms export`, like --output digits.onnx --names hf

examples: bash scripts/run_export.sh runs/digits/best.ckpt onnx
          bash scripts/run_export.sh runs/digits/best.ckpt safetensors --names hf
TEXT
}

# shellcheck source=scripts/_vit_ms.sh
. "$(dirname "${BASH_SOURCE[0]}")/_vit_ms.sh"
need_first_word "$@"
if [ $# -lt 2 ] || [ "${2#-}" != "$2" ]; then
    usage >&2
    exit 2
fi
checkpoint=$1 format=$2
shift 2
vit_ms export --ckpt_path "$checkpoint" --format "$format" "$@"
