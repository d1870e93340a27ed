#!/usr/bin/env bash
# Style, layering, scripts and the whole test suite, in the quick start's environment.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash scripts/test.sh [--all] [PYTEST OPTION...]
       bash scripts/test.sh --notebooks en|zh

Makes or reuses .venv, installs the requirements and those of the tests, checks style (ruff), layering (import-linter) and
scripts (shellcheck, where it is installed) and runs the tests but those marked slow. Options go to pytest:
bash scripts/test.sh -k attention
bash scripts/test.sh -m slow

  --all                  afterwards build the documentation's site into a folder that is removed; a warning fails
  --notebooks LANGUAGE   run all notebooks of one language from top to bottom instead, writing nothing
  -h, --help             show this text
TEXT
}

language=
site=no
case ${1:-} in
    -h | --help) usage; exit 0 ;;
    --all) site=yes; shift ;;
    --notebooks)
        language=${2:-}
        case $#,$language in
            2,en | 2,zh) ;;
            *) usage >&2; exit 2 ;;
        esac
        ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/_env.sh
. scripts/_env.sh
prepare_env no requirements.txt requirements-notebooks.txt requirements-docs.txt requirements-export.txt requirements-test.txt requirements-explore.txt
bin=$(dirname "$python")
if [ -n "$language" ]; then
    "$python" notebooks/build.py --try --language "$language"
    exit
fi

"$bin/ruff" check
"$bin/ruff" format --check
"$bin/lint-imports" --no-cache
if command -v shellcheck >/dev/null; then
    shellcheck --external-sources scripts/*.sh .ci/run
else
    echo "shellcheck is not installed: the scripts are not checked"
fi
"$python" -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile "$@"
if [ "$site" = yes ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    # Not --quiet: it would hide the warnings from --strict too. The variable silences an advertisement.
    TMPDIR=$folder NO_MKDOCS_2_WARNING=1 "$bin/mkdocs" build --strict --site-dir "$folder/site"
    echo "the documentation's site: no warning"
fi
