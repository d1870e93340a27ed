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

# shellcheck source=scripts/_vit_ms.sh
. "$(dirname "${BASH_SOURCE[0]}")/_vit_ms.sh"
need_first_word "$@"
vit_ms_on_data train --config "$@"
