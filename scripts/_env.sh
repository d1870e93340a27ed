# Sourced by quickstart.sh and test.sh, in the repository's root: finds or makes the Python environment they run in.
# shellcheck shell=bash

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# MindSpore has wheels for these.
supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.12 python3.11 python3.10 python; do
        if supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.10, 3.11 or 3.12 here, for which MindSpore has wheels: install one, or name it: PYTHON=/path/to/python3.11 bash $0"
}

# prepare_env USE_CURRENT REQUIREMENTS...: sets `python` to an interpreter that has what the files ask for.
# A stamp in the environment says what was installed; the second run installs nothing.
prepare_env() {
    local use_current=$1 file stamp wanted
    shift
    if [ "$use_current" = yes ]; then
        python=${PYTHON:-python}
        supported "$python" || fail "--use-current: $python is not Python 3.10, 3.11 or 3.12"
        # pip must not replace the MindSpore that fits this machine's CANN.
        "$python" vit_ms/environment.py --installed || exit 2
    else
        python=.venv/bin/python
        if ! supported "$python" || ! "$python" -m pip --version >/dev/null 2>&1; then
            local base
            base=$(find_python) || exit 2
            echo "making .venv with $("$base" --version)"
            "$base" -m venv --clear .venv || fail "cannot make .venv: install Python's venv module (Debian: apt install python3-venv)"
        fi
    fi
    stamp=$("$python" -c 'import sys; print(sys.prefix)')/.vit_ms-installed
    # A line a file: what the tests need holds what the quick start needs.
    wanted=$(pwd; cksum pyproject.toml "$@")
    if [ -f "$stamp" ] && ! grep -qvxFf "$stamp" <<<"$wanted"; then
        return
    fi
    echo "installing $* (MindSpore is a download of 0.8 GB)"
    local requirements=()
    for file in "$@"; do
        requirements+=(-r "$file")
    done
    "$python" -m pip install --disable-pip-version-check "${requirements[@]}" -e . ||
        fail "pip could not install the requirements: read its last lines above; is there a network?"
    echo "$wanted" >"$stamp" || true
}
