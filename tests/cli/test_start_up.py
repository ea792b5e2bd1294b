"""A command imports what it needs: short ones start fast."""

from __future__ import annotations

import subprocess
import sys
from datetime import date

import pytest

from pipeline.read import published_directory
from pipeline.reports.show import example
from tests.engine.conftest import EVE
from tests.engine.published_market import settings_for

PROGRAM = """
import sys
from pipeline.__main__ import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
ARRAYS = {"numpy", "pandas"}
HEAVY = {"dagster", "dask", "distributed", "exchange_calendars", "fsspec", "matplotlib", "numba", "sklearn"}
STORES = {"xarray", "zarr"}
TABLES = {"pandas", "pyarrow"}


def imported(*command: object) -> set[str]:
    """Top-level modules that a command imports. It must succeed."""
    words = [sys.executable, "-c", PROGRAM, *map(str, command)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize("command", ["--help", "--version", "security --help", "quality list --help"])
def test_help_and_version_import_no_arrays(command):
    assert not imported(*command.split()) & (ARRAYS | HEAVY)


def test_a_look_at_published_data_imports_no_machinery(published_eve):
    found = imported("history", "--root", published_eve)
    assert "pandas" in found
    assert not found & (HEAVY | STORES)
    assert not imported("security", "queue", "--root", published_eve) & (HEAVY | STORES)


def test_who_had_a_ticker_is_answered_without_tables(published_eve):
    with published_directory(published_eve) as directory:
        assert directory.resolve("SPY", EVE)
    assert not imported("security", "resolve", "SPY", "--as-of", EVE, "--root", published_eve) & (
        TABLES | HEAVY | STORES
    )


@pytest.mark.parametrize(
    "command", [f"show industries --on {EVE}", "panel --min-peers 1", "screen mkt_cap", "returns SPY --format json"]
)
def test_what_is_published_is_asked_without_tables(published_eve, command):
    assert not imported(*command.split(), "--root", published_eve) & (TABLES | HEAVY | STORES)


def test_a_stock_is_shown_without_tables(published_eve):
    stock, _ = example(settings_for(published_eve), date.fromisoformat(EVE))
    assert not imported("show", stock, "--on", EVE, "--root", published_eve) & (TABLES | HEAVY | STORES)
