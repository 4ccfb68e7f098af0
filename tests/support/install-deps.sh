#!/bin/sh
# Installs what the tests start for real, when it is missing: BIND 9 (Debian packages) and moto (PyPI, in .venv).
# Needs root or sudo for the packages. Running it again is quick and changes nothing.
set -eu

moto_version=5.2.5
root=$(cd "$(dirname "$0")/../.." && pwd)

if [ "$(id -u)" = 0 ]; then
    as_root() { "$@"; }
elif command -v sudo >/dev/null 2>&1; then
    as_root() { sudo "$@"; }
else
    as_root() {
        echo "install-deps: root or sudo is needed for: $*" >&2
        exit 1
    }
fi

missing=
need() { # command, package
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need named bind9
need named-checkconf bind9-utils
need dig bind9-dnsutils
need python3 python3-venv

venv_works() { # a venv without pip is what Debian makes when python3-venv is missing
    scratch=$(mktemp -d)
    if python3 -m venv "$scratch/venv" >/dev/null 2>&1 && [ -x "$scratch/venv/bin/pip" ]; then
        result=0
    else
        result=1
    fi
    rm -rf "$scratch"
    return $result
}
have_moto() {
    [ -x "$root/.venv/bin/moto_server" ] &&
        "$root/.venv/bin/python" -c "
import importlib.metadata, sys
sys.exit(importlib.metadata.version('moto') != '$moto_version')" >/dev/null 2>&1
}
if ! have_moto && command -v python3 >/dev/null 2>&1 && ! venv_works; then
    missing="$missing python3-venv"
fi

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "install-deps: no apt-get here; please install:$missing" >&2
        exit 1
    fi
    # The tests start their own named on loopback. The package must not start one for the whole machine,
    # neither now (policy-rc.d) nor at the next boot (disable).
    policy=/usr/sbin/policy-rc.d
    own_policy=
    if [ ! -e "$policy" ]; then
        own_policy=yes
        as_root sh -c "printf '#!/bin/sh\nexit 101\n' > $policy && chmod 755 $policy"
        trap 'as_root rm -f "$policy"' EXIT INT TERM
    fi
    as_root apt-get update
    # shellcheck disable=SC2086  # a list of package names
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
    if [ -n "$own_policy" ]; then
        as_root rm -f "$policy"
        trap - EXIT INT TERM
    fi
    case "$missing" in
    *bind9*)
        if command -v systemctl >/dev/null 2>&1; then
            as_root systemctl disable --quiet named.service >/dev/null 2>&1 || true
        fi
        ;;
    esac
fi

if ! have_moto; then
    python3 -m venv "$root/.venv"
    "$root/.venv/bin/pip" install --quiet --disable-pip-version-check "moto[server]==$moto_version"
fi
