#!/usr/bin/env bash
# Style, layering, scripts and the whole test suite, in the quick start's environment.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash scripts/test.sh [--notebooks en|zh | PYTEST OPTION...]

Makes or reuses .venv, installs the requirements and those of the tests, checks style (ruff), layering (import-linter) and
scripts (shellcheck, where it is installed) and runs the tests but those marked slow. Options go to pytest:
bash scripts/test.sh -k attention
bash scripts/test.sh -m slow

  --notebooks LANGUAGE   run all notebooks of one language from top to bottom instead, writing nothing
  -h, --help             show this text
TEXT
}

language=
case ${1:-} in
    -h | --help) usage; exit 0 ;;
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
prepare_env no requirements.txt requirements-notebooks.txt requirements-test.txt
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
