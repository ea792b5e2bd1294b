"""The small published market of the engine's tests, asked by ticker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.query import QueryFamily, open_family
from tests.engine.conftest import published_eve, tables, whole  # noqa: F401 (fixtures)


@pytest.fixture(scope="session")
def family(whole: Path) -> QueryFamily:  # noqa: F811
    return open_family(whole)


@pytest.fixture(scope="session")
def stocks(family: QueryFamily) -> tuple[str, ...]:
    """Tickers of the stocks with all three levels at the last session, by permanent id."""
    cells = family.cells("ds_erm3_hedge_weights")
    have = np.isfinite(cells.day("L3_subsector_HR", len(family.sessions) - 1))
    ids = [cells.symbols[k] for k in np.flatnonzero(have)]
    return tuple(family.names.ticker(symbol, family.complete_through) or "" for symbol in sorted(ids))
