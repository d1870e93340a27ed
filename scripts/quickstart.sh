#!/usr/bin/env bash
# Train a small ViT on real images, evaluate it on held-out ones and show predictions, from nothing but Python and pip.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash scripts/quickstart.sh [--use-current]

Makes .venv in the repository (or reuses it), installs the requirements, trains the digits recipe, evaluates it on
held-out images and predicts. The images come with scikit-learn: after the installation no network is needed.

  --use-current   use the active Python environment, with its MindSpore and CANN, in place of .venv
  -h, --help      show this text

environment: PYTHON   the interpreter to make .venv with
TEXT
}

use_current=no
for argument in "$@"; do
    case $argument in
        --use-current) use_current=yes ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/_env.sh
. scripts/_env.sh
if [ "$use_current" = yes ]; then
    prepare_env yes requirements.txt # a cloud notebook has its own Jupyter
else
    prepare_env no requirements.txt requirements-notebooks.txt
fi

folder=runs/quickstart # its own: other runs of the recipe stay what they are
checkpoint=$folder/best.ckpt
rm -rf "$folder"
echo; echo "== 1/3 train: a small ViT on handwritten digits"
"$python" -m vit_ms train --config digits --ckpt_save_dir "$folder"
echo; echo "== 2/3 evaluate: the best checkpoint on images it has not seen"
"$python" -m vit_ms eval --ckpt_path "$checkpoint"
echo; echo "== 3/3 predict: ten image files"
"$python" -m vit_ms predict vit_ms/data/samples/digits --ckpt_path "$checkpoint"

cat <<TEXT

Done. In $folder:
  best.ckpt         the checkpoint with the best validation accuracy (last.ckpt: after the last epoch)
  curve.png         loss and accuracy over the epochs
  confusion.png     which digit was taken for which
  predictions.png   held-out digits, the wrong ones marked
  predict.png       the ten image files with their likeliest classes
  metrics.json      accuracy, loss and accuracy of each class
  report.html       all of it on one page, to open in a browser

TEXT
if [ "$use_current" = yes ]; then
    echo "Next: open notebooks/ in your Jupyter"
else
    echo "Next: .venv/bin/jupyter lab notebooks/"
fi
