"""A stock at one session: all fields, and the levels side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.query.errors import NothingThere
from pipeline.query.fields import FIELDS, HEDGE, LEGS, LEVELS, SHORT
from pipeline.query.values import etfs_at, of_stock

if TYPE_CHECKING:
    from pipeline.query.family import QueryFamily
    from pipeline.query.names import Who

LOOK_BACK = 504
Etfs = Mapping[str, str | None]


def session_of(family: QueryFamily, symbol: str, session: int) -> int:
    """The last session <= `session` at which a stock has an L1 hedge ratio. Raises NothingThere."""
    cells = family.cells(HEDGE)
    position = cells.position.get(symbol)
    if position is not None:
        if np.isfinite(cells.cell("L1_market_HR", position, session)):
            return session
        for end in range(session + 1, 0, -LOOK_BACK):
            start = max(end - LOOK_BACK, 0)
            have = np.flatnonzero(np.isfinite(cells.column("L1_market_HR", position, start, end)))
            if len(have):
                return start + int(have[-1])
    raise NothingThere(f"{symbol} has no hedge ratio at or before {family.teo(session)}", code="no_values")


def row(family: QueryFamily, symbol: str, session: int) -> dict[str, Any]:
    """All fields of a stock at a session by wire name, None where there is no value."""
    found: dict[str, Any] = {field.wire: of_stock(family, field, symbol, session) for field in FIELDS}
    if found["lstar_level"] is not None:
        found["lstar_level"] = int(found["lstar_level"])
    return found


def levels(values: Mapping[str, Any], used: Etfs) -> dict[str, Any]:
    """L1, L2 and L3 side by side, each from its own fields; an ETF stands beside its ratio only."""
    out: dict[str, Any] = {}
    for depth, legs in LEGS.items():
        level: dict[str, Any] = {}
        for leg in LEVELS:
            for kind in ("hr", "er"):
                level[f"{leg}_{kind}"] = values[f"l{depth}_{SHORT[leg]}_{kind}"] if leg in legs else None
        level["residual_er"] = values[f"l{depth}_res_er"]
        level["hedge_etfs"] = {leg: used[leg] if level[f"{leg}_hr"] is not None else None for leg in LEVELS}
        out[f"L{depth}"] = level
    depth = values["lstar_level"]
    out["statistical_lstar"] = None if depth is None else f"L{depth}"
    return out


def metrics(family: QueryFamily, who: str, as_of: Any) -> dict[str, Any]:
    """See QueryFamily.metrics."""
    on = family.on(as_of)
    stock = family.stock(who, on.day)
    session = session_of(family, stock.symbol, on.session)
    return of(family, stock, session)


def of(family: QueryFamily, stock: Who, session: int) -> dict[str, Any]:
    """The answer of `metrics` for a stock and a session."""
    values = row(family, stock.symbol, session)
    used = etfs_at(family, stock.symbol, session)
    blocks = levels(values, used)
    teo = family.teo(session)
    return {
        "symbol": stock.symbol,
        "ticker": stock.ticker,
        "teo": teo,
        "periodicity": "daily",
        "metrics": values,
        "meta": {"sector_etf": used["sector"], "subsector_etf": used["subsector"], "asset_type": "stock"},
        "hedge_levels": blocks,
        "_data_health": {
            "er_populated": values["l3_res_er"] is not None,
            "vol_populated": values["vol_23d"] is not None,
            "l1_populated": values["l1_mkt_hr"] is not None,
            "l2_populated": values["l2_sec_hr"] is not None,
            "data_as_of": teo,
        },
    }


def decompose(family: QueryFamily, who: str, as_of: Any) -> dict[str, Any]:
    """See QueryFamily.decompose."""
    found = metrics(family, who, as_of)
    block = deepest(found["hedge_levels"])
    exposure: dict[str, Any] = {
        leg: {"er": block[f"{leg}_er"], "hr": block[f"{leg}_hr"], "hedge_etf": block["hedge_etfs"][leg]}
        for leg in LEVELS
    }
    exposure["residual"] = {"er": block["residual_er"], "hr": None, "hedge_etf": None}
    shares = [part["er"] for part in exposure.values() if part["er"] is not None]
    return {
        "ticker": found["ticker"],
        "symbol": found["symbol"],
        "data_as_of": found["teo"],
        "teo": found["teo"],
        "exposure": exposure,
        "hedge": per_etf(block),
        "hedge_levels": found["hedge_levels"],
        "_data_health": {
            "er_populated": bool(shares),
            "er_sum": float(np.sum(shares, dtype=np.float64)) if shares else None,
        },
    }


def deepest(blocks: Mapping[str, Any], wanted: str = "L3") -> dict[str, Any]:
    """The deepest of L1 to `wanted` that has all its ratios; L1 always has."""
    for depth in range(int(wanted[1]), 1, -1):
        block = blocks[f"L{depth}"]
        if all(block[f"{leg}_hr"] is not None for leg in LEGS[depth]):
            return dict(block)
    return dict(blocks["L1"])


def per_etf(block: Mapping[str, Any]) -> dict[str, Any]:
    """Ratios by ETF. Two levels can use one ETF: then it is their sum."""
    out: dict[str, Any] = {}
    for leg in LEVELS:
        etf, ratio = block["hedge_etfs"][leg], block[f"{leg}_hr"]
        if etf is not None:
            out[etf] = float(out[etf]) + float(ratio) if etf in out else ratio
    return out
