"""Members of a universe on a day, and the factor ETFs' own returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.rankings import WINDOWS
from pipeline.query.errors import BadQuestion, NothingThere, one_of
from pipeline.query.fields import DAILY, ETF, MASKS
from pipeline.query.table import Table, texts
from pipeline.query.values import compounded

if TYPE_CHECKING:
    from pipeline.query.family import QueryFamily

SLEEVES = ("market", "sector", "all")


def active(family: QueryFamily, name: str, session: int) -> NDArray[np.bool_]:
    """(stocks,) along the axis of ds_masks: in the mask of a universe, and valid, at a session."""
    masks = family.cells(MASKS)
    return masks.day(name, session).astype(bool) & masks.day("validity", session).astype(bool)


def symbols(family: QueryFamily, name: str, session: int) -> list[str]:
    """Permanent ids of the valid members."""
    return [family.cells(MASKS).symbols[k] for k in np.flatnonzero(active(family, name, session))]


def members(family: QueryFamily, name: str, on: Any) -> dict[str, Any]:
    """See QueryFamily.members."""
    known = sorted(
        key[:-8] for key in family.cells(MASKS).store.metadata if key.startswith("uni_") and key.endswith("/.zarray")
    )
    if name not in known:
        raise NothingThere(f"there is no universe {name[:40]!r}; known: {', '.join(known)}", code="unknown_universe")
    asked = family.on(on)
    teo = family.sessions[asked.session]
    mask = family.cells(MASKS).day(name, asked.session).astype(bool)
    found = symbols(family, name, asked.session)
    return {
        "universe": name,
        "teo": str(teo),
        "mask_as_of": _last_month_end(family, teo),
        "members": [{"symbol": s, "ticker": family.names.ticker(s, asked.day)} for s in found],
        "counts": {
            "active": len(found),
            "in_universe_mask": int(mask.sum()),
            "inactive_from_validity": int(mask.sum()) - len(found),
        },
    }


def _last_month_end(family: QueryFamily, teo: np.datetime64) -> str:
    """The last session of the month before, of which the mask is; the calendar knows it where it is not published."""
    month = teo.astype("datetime64[M]").astype("datetime64[D]")
    before = int(np.searchsorted(family.sessions, month)) - 1
    if before >= 0:
        return family.teo(before)
    from pipeline.calendar import xnys  # takes a second, and is asked for in the first published month only

    days = xnys().sessions.astype("datetime64[D]")
    return str(days[int(np.searchsorted(days, month)) - 1])


def tickers(family: QueryFamily, on: Any, metadata: bool = False) -> dict[str, Any]:
    """The valid members of the factor set's universe by ticker, sorted; with names, sectors and ETFs if asked."""
    asked = family.on(on)
    of = {family.names.ticker(s, asked.day): s for s in symbols(family, family.universe, asked.session)}
    found: dict[str, Any] = {"tickers": sorted(ticker for ticker in of if ticker)}
    if metadata:
        found["metadata"] = {
            ticker: describe(family, of[ticker], asked.day, asked.session) for ticker in found["tickers"]
        }
    return found


def describe(family: QueryFamily, symbol: str, day: str, session: int) -> dict[str, Any]:
    """Name, sector and the ETFs of the sector and the subsector of a stock, as the taxonomy has them; None for none."""
    cells = family.cells(DAILY)
    position = cells.position.get(symbol)
    code = 0 if position is None else int(cells.cell("fs_industry_code", position, session))
    industry = family.names.industries.get(code)
    return {
        "name": family.names.name(symbol, day),
        "sector": industry.sector if industry else None,
        "sector_etf": industry.sector_etf or None if industry else None,
        "subsector_etf": industry.subsector_etf or None if industry else None,
    }


def etf_returns(family: QueryFamily, sleeve: str, wanted: Sequence[str] | None, on: Any) -> Table:
    """See QueryFamily.etf_returns."""
    one_of("sleeve", sleeve, SLEEVES)
    asked, cells = family.on(on), family.cells(ETF)
    sectors = sorted({row.sector_etf for row in family.names.industries.values() if row.sector_etf})
    scope = {family.market_factor_etf: "market", **dict.fromkeys(sectors, "sector")}
    for ticker in wanted or ():
        if ticker.upper() not in scope:
            raise BadQuestion(f"{ticker[:20]!r} is none of {', '.join(scope)}", code="unknown_etf")
    chosen = [t for t in scope if sleeve in ("all", scope[t]) and (not wanted or t in {w.upper() for w in wanted})]
    rows = []
    for ticker in chosen:
        position = _position(family, ticker, asked.day)
        if position is None:
            continue
        column = cells.column("return", position, asked.session - max(WINDOWS.values()) + 1, asked.session + 1)
        grown = {name: compounded(column[-n:, None], n)[0] for name, n in WINDOWS.items()}
        close = cells.cell("close", position, asked.session)
        rows.append(
            (ticker, scope[ticker], family.names.name(cells.symbols[position], asked.day), close, *grown.values())
        )
    columns: dict[str, NDArray] = {
        name: texts([row[k] for row in rows]) for k, name in enumerate(("ticker", "sleeve", "name"))
    }
    columns["close"] = np.array([row[3] for row in rows], np.float32)
    columns |= {name: np.array([row[4 + k] for row in rows], np.float64) for k, name in enumerate(WINDOWS)}
    return Table(columns, "ticker", {"teo": family.teo(asked.session), "sleeve": sleeve, "tickers": list(wanted or ())})


def _position(family: QueryFamily, ticker: str, day: str) -> int | None:
    try:
        return family.cells(ETF).position.get(family.names.resolve(ticker, day))
    except LookupError:
        return None
