# make repro   set everything up and run the pipeline on the embedded data
#              JOBS=2: independent stages in parallel; STAGE_GIB=12: free memory per network
# make test    set everything up and run lint, types and tests
# make bench   time it against peers and limits, write benchmarks/results.md
# make remotes install what remotes by SSH and S3 need
# make lock    resolve requirements.lock and those of remotes anew
# make clean   remove the environment (data, models and the DVC cache stay)

PYTHON ?= python3
JOBS ?= 1
STAGE_GIB ?= 3
BIN := .venv/bin
# DVC starts `python`: it must be the environment's.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: repro test lint bench setup remotes lock clean

repro: setup
ifeq ($(JOBS),1)
	dvc repro
else
	PYTHONPATH=src python -m ulna.team.parallel $(JOBS) $(STAGE_GIB)
endif

test: lint
	python -m pytest

lint: setup
	ruff check
	ruff format --check
	mypy

bench: setup
	python -m benchmarks

setup: .venv/installed

.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	    { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1): TensorFlow 2.21 needs Python 3.11 to 3.13;" \
	    "say which with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch $@

# REMOTES=remotes-dev: what the tests of remotes need as well.
REMOTES ?= remotes
remotes: setup
	python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-$(REMOTES).lock

LOCK = .venv/lock/bin/uv pip compile --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-header --quiet --upgrade

lock:
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python -m pip install --quiet uv
	$(LOCK) requirements-dev.txt --output-file requirements.lock
	$(LOCK) requirements-remotes.txt -c requirements.lock --output-file requirements-remotes.lock
	$(LOCK) requirements-remotes-dev.txt -c requirements.lock --output-file requirements-remotes-dev.lock

clean:
	rm -rf .venv
