# Sourced by the run_*.sh scripts: the commands of this repository, from whatever folder the user is in.
# shellcheck shell=bash

vit_ms() {
    local root python
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    python=${PYTHON:-$root/.venv/bin/python}
    [ -x "$python" ] || [ -n "${PYTHON:-}" ] || python=python3
    PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m vit_ms "$@"
}
