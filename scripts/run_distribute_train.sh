#!/usr/bin/env bash
# Train on several devices of this machine, or of several machines, with msrun.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash scripts/run_distribute_train.sh N CONFIG [DATA_DIR] [OPTION...]

  N          devices; one process for each, all of them with a part of every batch
  CONFIG     a recipe of vit_ms/recipes, or a YAML file
  DATA_DIR   folder with train/<class>/*.jpg and val/<class>/*.jpg, for recipes that read files
  OPTION     of `python -m vit_ms train`, like --epoch_size 5 --ckpt_save_dir runs/short --resume

Several machines: set on each of them, and call the script there with the N of all together,
  LOCAL_N    devices of this machine (default N)
  NODE       number of this machine, from 0 (default 0)
  MASTER     address of machine 0 (default 127.0.0.1)
  PORT       a free one of machine 0 (default 8118)
  LOG_DIR    folder for what each process prints (default runs/logs)

examples: bash scripts/run_distribute_train.sh 8 swin_t /data/imagenet
          bash scripts/run_distribute_train.sh 2 digits --device_target CPU
TEXT
}

# shellcheck source=scripts/_vit_ms.sh
. "$(dirname "${BASH_SOURCE[0]}")/_vit_ms.sh"
need_first_word "$@"
case $1 in
    *[!0-9]* | 0) echo "run_distribute_train.sh: N is $1; it must be a number of devices" >&2; exit 2 ;;
esac
if [ $# -lt 2 ] || [ "${2#-}" != "$2" ]; then
    usage >&2
    exit 2
fi
devices=$1
shift
vit_ms_under_msrun "$devices" train --config "$@"
