#!/usr/bin/env bash
# Install what is missing of the arguments, each `package` or `program=package` (not needed if the
# program is there); as another user than root, say what is missing and stop.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

missing=()
for wanted in "$@"; do
    package=${wanted#*=}
    [ "$package" = "$wanted" ] || ! command -v "${wanted%%=*}" >/dev/null || continue
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "This needs the equivalent of Debian's packages: ${missing[*]}. Install them and repeat." >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "This needs packages that are not installed. Run the following, then repeat:" >&2
    echo "    sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing ${missing[*]}"
apt-get update -qq || echo "apt-get update failed; going on with the package lists there are" >&2
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
