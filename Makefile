# make repro   set everything up and run the pipeline on the embedded data
#              JOBS=2: independent stages in parallel; STAGE_GIB=12: free memory per network
# make test    set everything up and run lint, types and tests
# make bench   time it against peers and limits, write benchmarks/results.md
# make remotes install what remotes by SSH and S3 need
# make docs    build the documentation as a site: site/index.html
# make dag     draw docs/pipeline.svg anew (needs graphviz)
# make lock    resolve requirements.lock and the other locks anew
# make clean   remove the environment (data, models and the DVC cache stay)
# GPU=1 with any of them adds TensorFlow's CUDA packages to the environment (Linux)

PYTHON ?= python3
JOBS ?= 1
STAGE_GIB ?= 3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r
# DVC starts `python`: it must be the environment's.
export PATH := $(abspath $(BIN)):$(PATH)
# `python -m stages.NAME` needs the working directory on sys.path.
unexport PYTHONSAFEPATH

.PHONY: repro test lint bench setup remotes docs dag lock clean

repro: setup
	@python -m stages.check  # DVC skips it where it passed once, also when the data are gone by now
ifeq ($(JOBS),1)
	dvc repro
else
	PYTHONPATH=src python -m ulna.team.parallel $(JOBS) $(STAGE_GIB)
endif
	@./ulna summary

test: lint
	python -m pytest

lint: setup
	ruff check
	ruff format --check
	mypy
	hadolint docker/*.Dockerfile

bench: setup
	python -m benchmarks

setup: .venv/installed $(if $(filter 1,$(GPU)),.venv/installed-gpu)

.venv/installed: requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "there is no command $(PYTHON): install Python 3.11 to 3.13," \
	    "or say where it is: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	    { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1): TensorFlow 2.21 needs Python 3.11 to 3.13;" \
	    "say which with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(INSTALL) requirements.lock
	touch $@

# On top of the other lock, with the same versions: nothing that runs on a CPU changes.
.venv/installed-gpu: requirements-gpu.lock .venv/installed
	$(INSTALL) requirements-gpu.lock
	touch $@

# REMOTES=remotes-dev: what the tests of remotes need as well.
REMOTES ?= remotes
remotes: setup
	$(INSTALL) requirements-$(REMOTES).lock

docs: setup
	$(INSTALL) requirements-docs.lock
	python -m sphinx --fail-on-warning --quiet --fresh-env docs site

# Without the networks' names, and without arrows that others imply.
dag: setup
	dvc dag --dot | sed -E 's/@[a-z0-9]+//g' | tred | dot -Tsvg -o docs/pipeline.svg \
	    -Gbgcolor=white -Granksep=0.3 -Earrowsize=0.6 -Nshape=box -Nstyle=rounded -Nheight=0.3 \
	    -Nmargin=0.12,0.04 -Nfontname=sans-serif -Nfontsize=12

LOCK = .venv/lock/bin/uv pip compile --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-header --quiet --upgrade

lock:
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python -m pip install --quiet uv
	$(LOCK) requirements-dev.txt --output-file requirements.lock
	for name in gpu docs remotes remotes-dev; do \
	    $(LOCK) requirements-$$name.txt -c requirements.lock --output-file requirements-$$name.lock || exit; done

clean:
	rm -rf .venv
