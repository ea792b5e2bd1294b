"""A stock or an ETF through time, up to D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.query.dates import years_before
from pipeline.query.errors import BadQuestion, NothingThere, within
from pipeline.query.fields import BY_WIRE, ETF, FIELDS, L3_RATIOS, L3_SHARES, LEGS, LEVELS, SHORT, field, sdk_name
from pipeline.query.table import Table, texts
from pipeline.query.values import etf_columns, etfs_at, listed, through_time

if TYPE_CHECKING:
    import xarray as xr

    from pipeline.query.dates import On
    from pipeline.query.family import QueryFamily
    from pipeline.query.names import Who

YEARS = (1, 27)
RETURNS = ("l1_cfr", "l2_cfr", "l3_cfr")
L3 = (*L3_RATIOS, *L3_SHARES)
MOST_CELLS = 50_000_000


class Span(NamedTuple):
    """The sessions of a history: first <= k < last, those with `rows` true."""

    who: Who
    on: On
    first: int
    last: int
    rows: NDArray[np.bool_]


def span(family: QueryFamily, who: str, years: int, as_of: Any, stocks_only: bool = True) -> Span:
    """From D minus some years, that date included, through D: with a stock listed, an ETF priced.

    Raises NothingThere when there is no such session.
    """
    within("years", years, *YEARS)
    on = family.on(as_of)
    found = family.stock(who, on.day) if stocks_only else family.who(who, on.day)
    first = int(np.searchsorted(family.sessions, np.datetime64(years_before(on.day, int(years)))))
    last = on.session + 1
    if found.kind == "stock":
        rows = listed(family, found.symbol, first, last)
    else:
        cells = family.cells(ETF)
        rows = np.isfinite(cells.column("close", cells.position[found.symbol], first, last))
    if not rows.any():
        raise NothingThere(
            f"{found.ticker} ({found.symbol}) has no session in the {int(years)} years up to {on.day}", code="no_values"
        )
    return Span(found, on, first, last, rows)


def _dates(family: QueryFamily, over: Span) -> NDArray:
    return texts(np.datetime_as_string(family.sessions[over.first : over.last][over.rows]).tolist())


def _columns(family: QueryFamily, over: Span, wires: Sequence[str]) -> dict[str, NDArray]:
    return {w: through_time(family, BY_WIRE[w], over.who.symbol, over.first, over.last)[over.rows] for w in wires}


def _said(family: QueryFamily, over: Span) -> dict[str, Any]:
    return {"symbol": over.who.symbol, "ticker": over.who.ticker, "asset_type": over.who.kind, "day": over.on.day}


def ticker_returns(family: QueryFamily, who: str, years: int, as_of: Any) -> Table:
    """See QueryFamily.ticker_returns."""
    over = span(family, who, years, as_of, stocks_only=False)
    columns = {"date": _dates(family, over)}
    said = _said(family, over)
    if over.who.kind == "etf":
        cells = family.cells(ETF)
        for name, variable in (("returns_gross", "return"), ("price_close", "close")):
            columns[name] = cells.column(variable, cells.position[over.who.symbol], over.first, over.last)[over.rows]
        return Table(columns, "date", said)
    columns |= _columns(family, over, ("returns_gross", "price_close", *RETURNS, *L3))
    return Table(columns, "date", said | _etfs_of_last_row(family, over))


def _etfs_of_last_row(family: QueryFamily, over: Span) -> dict[str, str | None]:
    last = over.first + int(np.flatnonzero(over.rows)[-1])
    return {f"{level}_etf": etf for level, etf in etfs_at(family, over.who.symbol, last).items()}


def fields_of(family: QueryFamily, who: str, years: int, as_of: Any, names: Sequence[str]) -> Table:
    """Some fields of a stock in the years up to D, as they were named."""
    over = span(family, who, years, as_of)
    columns = _columns(family, over, [field(name).wire for name in names])
    return Table(
        {"date": _dates(family, over), **dict(zip(names, columns.values(), strict=True))}, "date", _said(family, over)
    )


def l3_decomposition(family: QueryFamily, who: str, years: int, as_of: Any) -> Table:
    """See QueryFamily.l3_decomposition."""
    over = span(family, who, years, as_of)
    columns = {sdk_name(wire): values for wire, values in _columns(family, over, L3).items()}
    return Table({"date": _dates(family, over), **columns}, "date", _said(family, over))


def returns_decomposition(
    family: QueryFamily, who: str, years: int, as_of: Any, include_lstar: bool, threshold: float | None
) -> Table:
    """See QueryFamily.returns_decomposition."""
    over = span(family, who, years, as_of)
    found = _columns(family, over, ("returns_gross", *(f"l{k}_{x}" for k in LEGS for x in ("fr", "cfr", "rr"))))
    columns = {"date": _dates(family, over), "gross_return": found["returns_gross"]}
    for wire, name in (("fr", "factor_return"), ("cfr", "combined_factor_return"), ("rr", "residual_return")):
        columns |= {f"l{k}_{name}": found[f"l{k}_{wire}"] for k in LEGS}
    said = _said(family, over)
    if include_lstar:
        deep = lstar(family, who, years, threshold, as_of)
        columns |= {"lstar": deep["lstar"], "lstar_residual_return": deep["residual_return"]}
        said["threshold_used"] = deep.attrs["threshold_used"]
    return Table(columns, "date", said)


def lstar(family: QueryFamily, who: str, years: int, threshold: float | None, as_of: Any) -> Table:
    """See QueryFamily.lstar."""
    if threshold is not None:
        within("threshold", threshold, 0.0, 0.5)
    over = span(family, who, years, as_of)
    sector, subsector = (_columns(family, over, (wire,))[wire] for wire in ("l2_sec_er", "l3_sub_er"))
    if threshold is None:
        depth = np.nan_to_num(_columns(family, over, ("lstar_level",))["lstar_level"]).astype(int)
        used = float(family.attributes("ds_erm3_returns").get("Lstar_threshold", np.nan))
    else:
        depth, used = depth_by(sector, subsector, float(threshold)), float(threshold)

    def dispatched(kind: str) -> NDArray:
        out = np.full(len(depth), np.nan, np.float32)
        for k in LEGS:
            if f"l{k}_{kind}" in BY_WIRE:
                at = depth == k
                out[at] = _columns(family, over, (f"l{k}_{kind}",))[f"l{k}_{kind}"][at]
        return out

    explained = [dispatched(f"{SHORT[leg]}_er").astype(np.float64) for leg in LEVELS]
    none = np.all([np.isnan(share) for share in explained], axis=0)
    columns = {
        "date": _dates(family, over),
        "lstar": texts([f"L{k}" if k else None for k in depth.tolist()]),
        **{f"{leg}_hr": dispatched(f"{SHORT[leg]}_hr") for leg in LEVELS},
        "total_er": np.where(none, np.nan, np.nansum(explained, axis=0)),
        "residual_return": dispatched("rr"),
        "l2_sector_er": sector,
        "l3_subsector_er": subsector,
    }
    return Table(columns, "date", _said(family, over) | {"threshold_used": used})


def depth_by(sector: NDArray, subsector: NDArray, threshold: float) -> NDArray[np.int_]:
    """Hedge depth from the L2 sector and L3 subsector shares (docs/methodology.md, section 9); 0 for none.

    >>> depth_by(np.array([0.02, 0.2, np.nan]), np.array([0.01, 0.1, np.nan]), 0.05)
    array([1, 3, 0])
    """
    s, u = sector.astype(np.float64), subsector.astype(np.float64)
    depth = np.where(u >= threshold, 3, np.where(s >= threshold, 2, 1))
    return np.where(np.isnan(s) & np.isnan(u), 0, depth)


def etf_history(family: QueryFamily, who: str, years: int, as_of: Any = None) -> Table:
    """The ETFs used for a stock at each session of a history, None beside a missing ratio of their level."""
    over = span(family, who, years, as_of)
    named = etf_columns(family, over.who.symbol, over.first, over.last)
    columns = {f"{level}_etf": column[over.rows] for level, column in named.items()}
    return Table({"date": _dates(family, over), **columns}, "date", _said(family, over))


def cube(family: QueryFamily, names: Sequence[str], start: Any, end: Any, fields: Sequence[str] | None) -> xr.Dataset:
    """See QueryFamily.cube."""
    import xarray as xr

    first, on = family.between(start, end)
    last = on.session + 1
    asked = list(dict.fromkeys(names))
    wanted = {sdk_name(name): field(name) for name in fields} if fields is not None else {f.sdk: f for f in FIELDS}
    if len(asked) * len(wanted) * (last - first) > MOST_CELLS:
        raise BadQuestion(f"more than {MOST_CELLS:,} cells; ask for fewer names, fields or sessions", code="too_large")
    stocks = [family.stock(name, on.day) for name in asked]
    data = {
        name: (
            ("ticker", "date"),
            np.stack([through_time(family, f, stock.symbol, first, last) for stock in stocks])
            if stocks
            else np.empty((0, last - first), np.float32),
            {"units": f.unit, "long_name": f.definition},
        )
        for name, f in wanted.items()
    }
    coords = {
        "ticker": np.array([stock.ticker for stock in stocks], object),
        "date": family.sessions[first:last].astype("datetime64[ns]"),
        "symbol": ("ticker", np.array([stock.symbol for stock in stocks], object)),
    }
    return xr.Dataset(data, coords, {"publication": family.publication, "complete_through": family.complete_through})
