# make run    install into .venv and run the whole pipeline on the simulated market
# make test   install, lint, and run the tests (under 10 minutes on 2 cores)
# make lint   ruff, mypy, import-linter
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ROOT   ?= data/simulated

.PHONY: help run test test-slow test-postgres lint install bench bench-backfill clean
.DEFAULT_GOAL := help

help:  ## the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed  ## create .venv and install the pinned packages

run: install  ## the whole pipeline on the simulated market, then a look at the result
	$(BIN)/erm3 demo --root $(ROOT)

lint: install  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: install lint  ## lint, then every test that needs no server and no real data
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow and not postgres and not browser"

test-slow: install  ## the longer suites
	$(BIN)/pytest -m slow

bench: install  ## our kernels against the field's, the whole model at full size; writes docs/benchmarks.md
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	$(BIN)/python -m tests.bench

bench-backfill: install  ## 20 years x 300 stocks, killed in the middle, resumed, with a night on top; command line and Dagster
	$(BIN)/python -m tests.bench.backfill

test-postgres: install  ## Dagster on a throw-away PostgreSQL from the system's packages
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,postgres]'
	$(BIN)/pytest -n 0 -m postgres tests/assets/test_postgres.py

clean:  ## remove what `make run` made
	rm -rf data/simulated
