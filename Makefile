# make demo: from a fresh clone to a regret curve. make test: the tests. Each sets itself up first: a virtual environment in
# .venv from containers/requirements.lock. Needs Python >= 3.11 and nothing else; no GPU, no administrator.

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && echo "$$name" && break; done)
CORES ?= all
WORKERS ?= 2
PYTEST_ARGS ?=
BENCH_THREADS ?= 2
BENCH_ARGS ?=
PAIRS ?= 12
# The image: torch for cpu or cuda, what it is built on (pin it by its digest), and with what.
VARIANT ?= cpu
BASE ?= python:3.11-slim-bookworm
ENGINE ?= $(eval ENGINE := $(shell if docker info > /dev/null 2>&1; then echo docker; else for name in podman buildah; do \
	command -v $$name > /dev/null && echo $$name && break; done; fi))$(ENGINE)
IMAGE_ARGS ?=
LOCK = containers/requirements.lock
STAMP = .venv/.set-up
PAPER = main multistage reinforce rewards sensitivity

.PHONY: help demo docs figures test bench growth ranking lint format lock image sif clean

help:
	@echo "make demo      run configs/experiments/demo.yaml and print its table (CORES=all)"
	@echo "make docs      the demo, and the README's table and picture of it"
	@echo "make figures   the README's pictures of regrets, and those of docs/paper.md, from the tables beside them"
	@echo "make test      run the tests (WORKERS=2; 0: in one process); PYTEST_ARGS=--slow runs the slow ones as well"
	@echo "make bench     the speed of every hot path against its peers, in one table (BENCH_THREADS=2)"
	@echo "make growth    how their cost grows with the size of the problem: docs/growth.csv and docs/growth.svg"
	@echo "make ranking   what a ranking by LEON costs a round: PAIRS=12 of runs side by side, a core each; docs/ranking_cost.csv"
	@echo "make lint      ruff, mypy, import-linter, snakefmt, snakemake --lint; make format mends what can be mended"
	@echo "make image     the container image llome-VARIANT:VERSION with docker, podman or buildah (VARIANT=cpu, or cuda)"
	@echo "make sif       the same for Apptainer: containers/llome.sif"
	@echo "make clean     remove .venv and caches, keep the results"

# Its table is snakemake's last word where there was something to do.
demo: $(STAMP)
	@touch .venv/.demo
	.venv/bin/snakemake --cores $(CORES) --configfile configs/experiments/demo.yaml
	@test results/demo/report/summary.txt -nt .venv/.demo || cat results/demo/report/summary.txt

# The README's pictures of regrets, from the tables beside them; with docs, the demo's table from a run. The others are what a report writes to
# results/laptop_{published,ablation,ranking}/report/regret.csv (with replicates: 5, 3 and 3: half a day, an hour and three hours on two cores),
# of ranking without LEON's ablations, which choose as the rankings do that are there; and those of docs/paper.md its fig2a.csv, regret.csv or
# fig10.csv of the experiment of that name. The one of costs is drawn by growth.
figures: $(STAMP)
	.venv/bin/python -m llome.reporting.redraw 10000 $(foreach name,demo published ablation ranking $(PAPER:%=paper/%),docs/$(name).csv)
	.venv/bin/python -m llome.reporting.redraw 0 docs/paper/difficulty.csv

docs: demo
	cp results/demo/report/fig2a.csv docs/demo.csv
	$(MAKE) figures

# A worker takes a file at a time, the longest first (tests/conftest.py); each computes on one thread.
test: $(STAMP)
	.venv/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# Ours and peers in one run, on as many threads; BENCH_ARGS="-k neighbours" measures a part. Peers that cannot live in .venv get
# .venv-bench-*, made once. For a machine that does nothing else.
bench: $(STAMP)
	@mkdir -p results/bench
	@echo "ten minutes or more; the first run makes the peers' environments as well"
	OMP_NUM_THREADS=$(BENCH_THREADS) MKL_NUM_THREADS=$(BENCH_THREADS) OPENBLAS_NUM_THREADS=$(BENCH_THREADS) \
		.venv/bin/python -m pytest tests/benchmarks/bench_*.py -o python_functions="bench_*" --size full --make-peers \
		-q --no-header --benchmark-quiet --benchmark-json results/bench/pytest-benchmark.json $(BENCH_ARGS)
	.venv/bin/python tests/benchmarks/table.py results/bench/pytest-benchmark.json results/bench/bench.json

growth: $(STAMP)
	cd tests && OMP_NUM_THREADS=$(BENCH_THREADS) MKL_NUM_THREADS=$(BENCH_THREADS) \
		../.venv/bin/python -m benchmarks.growth ../docs/growth.csv ../docs/growth.svg

ranking: $(STAMP)
	cd tests && ../.venv/bin/python -m benchmarks.ranking ../docs/ranking_cost.csv $(PAIRS)

lint: $(STAMP)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	.venv/bin/snakefmt --check Snakefile rules
	.venv/bin/snakemake --lint --configfile configs/experiments/tiny.yaml

format: $(STAMP)
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/snakefmt Snakefile rules

# Done once for a lock and a pyproject.toml. CPU wheels of torch: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
$(STAMP): $(LOCK) pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python >= 3.11 with venv found; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 2; }
	"$(PYTHON)" -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(LOCK)
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

# A new lock from what pyproject.toml asks for, with torch at the release that CPU and CUDA wheels are at hand for. Left out:
# this package, and the CUDA libraries, which torch names itself where it needs them; local version suffixes (+cpu) are
# dropped, so that one lock serves CPU and GPU.
TORCH = 2.13.0

lock:
	rm -rf .venv-lock
	"$(PYTHON)" -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check ".[dev]" setuptools torch==$(TORCH)
	{ sed -n '/^#/p' $(LOCK); .venv-lock/bin/python -m pip freeze --all --exclude-editable \
		| sed -E 's/\+[A-Za-z0-9.]+$$//' | grep -vE '^(pip|llome|nvidia-|cuda-|triton)'; } > $(LOCK).new
	mv $(LOCK).new $(LOCK)
	rm -rf .venv-lock

# Both images are told what they are made of. IMAGE_ARGS: more for the engine's build, such as --build-arg PIP_INDEX_URL=...
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
COMMIT = $(shell git describe --always --abbrev=40 --match= --dirty 2> /dev/null || echo unknown)
LOCK_HASH = $(shell sha256sum $(LOCK) | cut -c 1-16)
FACTS = $(foreach name,BASE VARIANT VERSION COMMIT LOCK_HASH,--build-arg $(name)=$($(name))) \
	$(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX))

# Only Docker's own format, which docker itself writes unasked, keeps the health check.
image:
	@test -n "$(ENGINE)" || { echo "error: no docker that answers, no podman and no buildah found; install one of them" >&2; exit 2; }
	$(ENGINE) build $(if $(findstring docker,$(ENGINE)),,--format docker) --file containers/Dockerfile $(FACTS) $(IMAGE_ARGS) \
		--tag llome-$(VARIANT):$(VERSION) .
	@$(ENGINE) images llome-$(VARIANT):$(VERSION)

sif:
	@command -v apptainer > /dev/null || { echo "error: no apptainer found; install it (apptainer.org), or use make image" >&2; exit 2; }
	apptainer build $(FACTS) $(IMAGE_ARGS) containers/llome.sif containers/llome.def

clean:
	rm -rf .venv .venv-lock .venv-bench-* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist *.egg-info
