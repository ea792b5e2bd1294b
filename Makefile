# `make help` lists the commands. Python 3.11 or newer and make are all that is needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ROOT   ?= data/simulated
# Size of `make bench-backfill`: stocks alive on the first session, and the first published year, up to 2025.
STOCKS ?= 3000
FIRST  ?= 2006
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST := $(BIN)/pytest
# Tests that need no server, no browser and no patience.
QUICK  := -n 2 --dist worksteal -m "not slow and not postgres and not browser and not client"

# Compiled modules and rewritten asserts are kept, whatever the environment says: each worker of the tests and each
# program that they start would compile them all again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install run first-hour night lint format test test-slow test-postgres test-client coverage bench bench-backfill bench-serve study docs hooks clean
.DEFAULT_GOAL := help

help:  ## this list
	@echo "make COMMAND"; echo
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 17 | sed 's/^/  /'
	@echo; echo "Run one test:  $(PYTEST) -n 0 tests/model/test_hedge.py"

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed  ## create .venv and install the pinned packages

run: install  ## the whole pipeline on the simulated market, then a look at the result (ROOT=data/simulated)
	$(BIN)/erm3 demo --root $(ROOT)

first-hour: install  ## what a newcomer does, docs/first-hour.md line by line in a new directory
	$(BIN)/python -m docs.first_hour

night: install  ## a fake vendor, a backfill and three nights (data/practice)
	$(BIN)/erm3 practice

lint: install  ## style, types, who imports whom, declared packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry .
	$(BIN)/deptry tests --exclude '^$$' --ignore DEP002,DEP004

format: install  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install lint  ## lint, then every test that needs no server; prints the ten slowest
	$(PYTEST) $(QUICK) --durations 10 --durations-min 0.1

test-slow: install  ## the longer suites
	$(PYTEST) -m slow --durations 10

test-postgres: install  ## Dagster on a throw-away PostgreSQL from the system's packages
	$(PIP) --editable '.[dev,postgres]'
	$(PYTEST) -n 0 -m postgres tests/assets/test_postgres.py

test-client: install  ## the existing Python client, unchanged, against erm3 serve
	$(PYTHON) -m venv .venv-client
	.venv-client/bin/pip install --quiet --disable-pip-version-check riskmodels-py==0.5.0 'pandas<3' xarray zarr
	$(PYTEST) -n 0 -m client tests/serve/test_client.py

coverage: install  ## the tests of `make test` with coverage of lines and branches; writes htmlcov/
	$(PYTEST) $(QUICK) --cov --cov-report term:skip-covered --cov-report html

bench: install  ## our kernels against the field's; writes docs/benchmarks.md
	$(PIP) --editable '.[dev,bench]'
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.serving

bench-backfill: install  ## from delivered tables to published stores: a backfill, killed and resumed, a night, and what was asked (STOCKS=3000 FIRST=2006)
	$(BIN)/python -m tests.bench.backfill --stocks $(STOCKS) --first $(FIRST) --write

study: install  ## how well hedges work out of sample, by choice of model; writes docs/model-quality.md
	$(PIP) --editable '.[dev,bench]'
	$(BIN)/python -m tests.study

bench-serve: install  ## how fast erm3 serve answers at full size; writes docs/benchmarks-serving.md
	$(BIN)/python -m tests.bench.serving

docs: install  ## render docs/contract, docs/fields.md, docs/settings.md, the tables of docs/datasets.md and the pictures anew
	$(BIN)/python -m pipeline.engine.products
	$(BIN)/python -m pipeline.query
	$(BIN)/python -m pipeline.settings
	$(BIN)/python -m docs.pictures

hooks: install  ## run `make lint` before each commit
	$(BIN)/pre-commit install

clean:  ## remove what `make run` and `make coverage` made
	rm -rf data/simulated data/practice htmlcov .coverage .coverage.*
