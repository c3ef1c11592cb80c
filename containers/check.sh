#!/bin/sh
# Does this image work? The version, then the tiny experiment from seeds to report, in a folder of its own; a minute, no network.
# In the images as `llome-check`: Docker's HEALTHCHECK and Apptainer's %test.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
llome --version
cp -R /opt/llome/share/llome/. "$folder"
cd "$folder"
export XDG_CACHE_HOME="$folder/.cache" MPLCONFIGDIR="$folder/.cache"
snakemake --cores 2 --configfile configs/experiments/tiny.yaml
test -s results/tiny/report/report.html
echo "ok: ${LLOME_IMAGE:-llome} runs the tiny experiment"
