#!/usr/bin/env bash
# Make a virtual environment at $1, installing Debian's python3-venv first where it is missing.
set -euo pipefail
target=$1
python=${PYTHON:-python3.11}

command -v "$python" >/dev/null || {
    echo "Holdfast needs Python 3.11 or newer, and '$python' is not there." >&2
    echo "Install it (Debian 12: apt-get install python3.11), or name another: make PYTHON=python3.12 ..." >&2
    exit 1
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Holdfast needs Python 3.11 or newer; $("$python" --version) is too old." >&2
    exit 1
}
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print(f"python3.{sys.version_info.minor}-venv")')
    "$(dirname "$0")/apt.sh" "$version"
fi
[ -x "$target/bin/python" ] || "$python" -m venv "$target"
