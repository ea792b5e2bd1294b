"""Whole stores as xarray has them, side by side, with labels that mean one thing each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.query.errors import NothingThere
from pipeline.query.table import texts

if TYPE_CHECKING:
    import xarray as xr

    from pipeline.query.family import QueryFamily

TICKERS = ("ticker", "unique_ticker")


def dataset(family: QueryFamily, stores: Sequence[str], as_of: Any, chunks: Any) -> xr.Dataset:
    """See QueryFamily.dataset."""
    import xarray as xr

    on, names = family.on(as_of), [family.store_name(store) for store in stores]
    opened = [_until(family, name, on.session, chunks) for name in names]
    seen = Counter(name for part in opened for name in {*part.data_vars, *part.dims})
    for k, (part, name) in enumerate(zip(opened, stores, strict=True)):
        own = name.removeprefix("ds_").removeprefix("erm3_")
        opened[k] = part.rename({v: f"{own}_{v}" for v in part.data_vars if seen[v] > 1})
    both = xr.merge(opened, join="outer", compat="override", combine_attrs="drop_conflicts")
    if "symbol" not in both.dims:
        return both
    label = family.names.labels([str(symbol) for symbol in both.symbol.values], on.day)
    known = np.array([text is not None for text in label])
    both = both.isel(symbol=known).assign_coords(ticker=("symbol", texts([text for text in label if text is not None])))
    return both.set_xindex("ticker")


def _until(family: QueryFamily, name: str, session: int, chunks: Any) -> xr.Dataset:
    """A store through a session, without the tickers of its last one."""
    found = family.family.dataset(name, as_of_manifest=True, chunks=chunks)
    rows: NDArray[np.bool_] = found.teo.values <= family.sessions[session]
    if not rows.any():
        raise NothingThere(f"{name} begins after {family.teo(session)}", code="no_values")
    return found.isel(teo=slice(0, int(rows.sum()))).drop_vars(TICKERS, errors="ignore")
