"""The rendered contract in docs/ is the declared one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.datasets.contract import BEGIN, contract_files, with_tables
from pipeline.engine.products import catalog

SPECS = list(catalog().values())
DOCS = Path(__file__).parents[2] / "docs"
RENEW = "the contract changed: look at the change, then write it with `python -m pipeline.engine.products`"


def test_the_rendered_metadata_is_up_to_date() -> None:
    kept = {path.name: path.read_text() for path in (DOCS / "contract").glob("*.json")}
    assert kept == contract_files(SPECS), RENEW


def test_the_tables_of_the_page_for_readers_are_up_to_date() -> None:
    page = (DOCS / "datasets.md").read_text()
    assert with_tables(page, SPECS) == page, RENEW


def test_a_page_that_lost_its_markers_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected the markers"):
        with_tables("no markers", SPECS)
    with pytest.raises(ValueError, match="expected the markers"):
        with_tables(BEGIN, SPECS)
