# Sourced by the run_*.sh scripts: the commands of this repository, from whatever folder the user is in.
# shellcheck shell=bash

# Ends with the script's usage where it is asked for or the first word is missing.
need_first_word() {
    case ${1:-} in
        -h | --help) usage; exit 0 ;;
        "" | -*) usage >&2; exit 2 ;;
    esac
}

vit_ms() {
    local root python
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    python=${PYTHON:-$root/.venv/bin/python}
    [ -x "$python" ] || [ -n "${PYTHON:-}" ] || python=python3
    PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m vit_ms "$@"
}

# vit_ms_on_data COMMAND FLAG VALUE [DATA_DIR] [OPTION...]: a second word that is no option is the folder of images.
vit_ms_on_data() {
    local command=("${@:1:3}")
    shift 3
    if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
        command+=(--data_dir "$1")
        shift
    fi
    vit_ms "${command[@]}" "$@"
}
