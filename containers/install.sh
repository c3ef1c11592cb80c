#!/bin/sh
# Puts llome into /opt/llome. Dockerfile and llome.def both call this, so that the two images hold the same in the same places.
#
#   install.sh packages cpu|cuda   a virtual environment with what llome runs on, in the versions of requirements.lock
#   install.sh llome               llome itself, the files of the workflow (share/llome) and the check (bin/llome-check)
#
# What only developers need (the extra `dev`) is left out, and so are poli, whose black boxes bring packages of their own, and `bo`. A network with
# a mirror of its own hands in two files, which stay outside the image: pip's configuration as /run/secrets/pip.conf and its
# certificates as /run/secrets/ca.crt.
set -eu
cd "$(dirname "$0")/.."
prefix=/opt/llome
lock=containers/requirements.lock
export PIP_NO_CACHE_DIR="${PIP_NO_CACHE_DIR:-1}" PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
[ ! -f /run/secrets/pip.conf ] || export PIP_CONFIG_FILE=/run/secrets/pip.conf
[ ! -f /run/secrets/ca.crt ] || export PIP_CERT=/run/secrets/ca.crt

fail() {
    echo "error: $1" >&2
    exit 2
}

packages() {
    case "$1" in
    cpu) index=${TORCH_INDEX-https://download.pytorch.org/whl/cpu} ;; # set but empty: wherever pip looks anyway
    cuda) index= ;;
    *) fail "VARIANT is '$1', expected cpu or cuda" ;;
    esac
    python3 -m venv "$prefix"
    wanted=$(mktemp)
    python3 - > "$wanted" <<'PYTHON'
import tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = [line for name, lines in project["optional-dependencies"].items() if name not in ("dev", "poli", "bo") for line in lines]
print(*project["dependencies"], *extras, "setuptools", sep="\n")
PYTHON
    # torch by itself, so that its index is asked for nothing else
    "$prefix/bin/pip" install --quiet --no-compile --no-deps ${index:+--index-url "$index"} "$(grep '^torch==' "$lock")"
    "$prefix/bin/pip" install --quiet --no-compile --use-pep517 --constraint "$lock" --requirement "$wanted"
    rm "$wanted"
    "$prefix/bin/python" -m compileall -q -j 0 "$prefix/lib" > /dev/null || true # pip does it too, on one core
    "$prefix/bin/python" - "$lock" "$1" <<'PYTHON'
import re
import sys
from importlib import metadata


def same(name):
    return re.sub("[-_.]+", "-", name).lower()


locked = {same(line.split("==")[0]) for line in open(sys.argv[1]) if "==" in line}
found = {same(each.name) for each in metadata.distributions()} - {"pip"}
strangers = sorted(name for name in found - locked if not re.match("nvidia-|cuda-|triton$", name))
if strangers:
    sys.exit(f"error: not in {sys.argv[1]}, run make lock: {', '.join(strangers)}")

import torch

if (torch.version.cuda is None) != (sys.argv[2] == "cpu"):
    sys.exit(f"error: VARIANT is {sys.argv[2]}, but pip found torch {torch.__version__}; see TORCH_INDEX")
PYTHON
}

llome() {
    "$prefix/bin/pip" install --quiet --no-deps --no-build-isolation .
    mkdir -p "$prefix/share/llome"
    cp -R Snakefile rules profiles configs LICENSE "$prefix/share/llome/"
    cp containers/check.sh "$prefix/bin/llome-check"
    chmod 755 "$prefix/bin/llome-check"
    "$prefix/bin/pip" uninstall --quiet --yes pip
}

case "${1:-}" in
packages) packages "${2:-}" ;;
llome) llome ;;
*) fail "usage: install.sh packages cpu|cuda, then install.sh llome" ;;
esac
