# Sourced by the run_*.sh scripts: the commands of this repository, from whatever folder the user is in.
# shellcheck shell=bash

# Ends with the script's usage where it is asked for or the first word is missing.
need_first_word() {
    case ${1:-} in
        -h | --help) usage; exit 0 ;;
        "" | -*) usage >&2; exit 2 ;;
    esac
}

# Sets `python`, and makes it find vit_ms.
find_vit_ms() {
    local root
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    python=${PYTHON:-$root/.venv/bin/python}
    [ -x "$python" ] || [ -n "${PYTHON:-}" ] || python=python3
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
}

# on_data COMMAND FLAG VALUE [DATA_DIR] [OPTION...]: sets `words` to those of the command; a second word that is no option
# is the folder of images.
on_data() {
    words=("${@:1:3}")
    shift 3
    if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
        words+=(--data_dir "$1")
        shift
    fi
    words+=("$@")
}

vit_ms() {
    local python
    find_vit_ms
    exec "$python" -m vit_ms "$@"
}

vit_ms_on_data() {
    local words
    on_data "$@"
    vit_ms "${words[@]}"
}

# vit_ms_under_msrun N COMMAND FLAG VALUE [DATA_DIR] [OPTION...]: N processes, of which the first is heard. Ends with the last
# lines of those that failed.
vit_ms_under_msrun() {
    local devices=$1 python words logs=${LOG_DIR:-runs/logs} code=0 log failed
    shift
    on_data "$@"
    find_vit_ms
    mkdir -p "$logs"
    rm -f "$logs"/worker_*.log "$logs"/scheduler.log "$logs"/msrun.log
    # msrun starts whatever "python" the path has first.
    PATH="$(dirname "$(command -v "$python")"):$PATH" "$python" -m mindspore.parallel.cluster.run --worker_num="$devices" --local_worker_num="${LOCAL_N:-$devices}" \
        --node_rank="${NODE:-0}" --master_addr="${MASTER:-127.0.0.1}" --master_port="${PORT:-8118}" \
        --log_dir="$logs" --join=True --tail_worker_log=0 python -m vit_ms "${words[@]}" 2>"$logs/msrun.log" &
    # msrun itself would end at once and leave its processes behind. Told to stop, they save the state and agree to end.
    # shellcheck disable=SC2064
    trap "pkill -TERM -P $!" TERM INT
    while kill -0 $! 2>/dev/null; do
        wait $! && code=0 || code=$?
    done
    [ "$code" = 0 ] && return
    failed=$(grep -lE "Traceback|^vit_ms: " "$logs"/worker_*.log) || failed=$(ls "$logs"/worker_*.log)
    for log in $failed; do
        echo "--- the end of $log" >&2
        tail -n 12 -- "$log" >&2
    done
    exit "$code"
}
