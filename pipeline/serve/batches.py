"""What is answered for several stocks at once: each by itself, so that one without an answer costs nobody theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.query import NothingThere, QueryError, QueryFamily, Table
from pipeline.query import history as past
from pipeline.query.fields import BY_WIRE, L3_RATIOS, LEVELS, field, sdk_name
from pipeline.query.table import texts, together
from pipeline.serve import answers

RATIOS = ("l1_market", "l2_market", "l2_sector", "l3_market", "l3_sector", "l3_subsector")


def distinct(tickers: Sequence[str]) -> list[str]:
    """Tickers in one spelling, each once, in the order asked."""
    return list(dict.fromkeys(ticker.strip().upper() for ticker in tickers))


def analyze(family: QueryFamily, tickers: Sequence[str], wanted: Sequence[str], years: int) -> dict[str, Any]:
    """Results by ticker as asked, with a summary; a ticker that has no answer is an error of its own."""
    results: dict[str, Any] = {}
    for ticker in distinct(tickers):
        try:
            results[ticker] = _analyzed(family, ticker, wanted, years)
        except QueryError as error:
            results[ticker] = {"ticker": ticker, "status": "error", "error": str(error)}
    good = sum(entry["status"] == "success" for entry in results.values())
    return {"results": results, "summary": {"total": len(results), "success": good, "errors": len(results) - good}}


def _analyzed(family: QueryFamily, ticker: str, wanted: Sequence[str], years: int) -> dict[str, Any]:
    found = family.metrics(ticker)
    entry: dict[str, Any] = {
        "ticker": ticker,
        "status": "success",
        "meta": found["meta"],
        "hedge_levels": found["hedge_levels"],
    }
    if "full_metrics" in wanted:
        entry["full_metrics"] = answers.flat(found) | {"ticker": ticker}
    if "hedge_ratios" in wanted:
        entry["hedge_ratios"] = {name: found["metrics"][field(f"{name}_hr").wire] for name in RATIOS}
    if "returns" in wanted or "l3_decomposition" in wanted:
        ratios = L3_RATIOS
        names = dict.fromkeys(("returns_gross", *ratios, *(past.L3 if "l3_decomposition" in wanted else ())))
        table = past.fields_of(family, found["symbol"], years, None, list(names))
        if "returns" in wanted:
            legs = [table[name] for name in ratios]
            entry["returns"] = {
                "dates": table["date"],
                "values": table["returns_gross"],
                **dict(zip(("l1", "l2", "l3"), legs, strict=True)),
                **{f"l3_{level}_hr": ratio for level, ratio in zip(LEVELS, legs, strict=True)},
            }
        if "l3_decomposition" in wanted:
            entry["l3_decomposition"] = {"dates": table["date"]} | {sdk_name(w): table[w] for w in past.L3}
    return entry


def analyzed_table(document: Mapping[str, Any], wanted: Sequence[str]) -> Table:
    """The same as rows: metrics if they were asked for, else ratios, else returns; a header even without rows."""
    good = [entry for entry in document["results"].values() if entry["status"] == "success"]
    if "full_metrics" in wanted:
        names = ("ticker", "date", "volatility", "close_price", *BY_WIRE)
        return answers.as_table(names, [entry["full_metrics"] for entry in good], ("ticker", "date"))
    if "hedge_ratios" in wanted:
        rows = [{"ticker": entry["ticker"], **entry["hedge_ratios"]} for entry in good]
        found = answers.as_table(("ticker", *RATIOS), rows, ("ticker",))
        return Table({n: c if n == "ticker" else c.astype(np.float32) for n, c in found.columns.items()}, "ticker")
    block = "returns" if "returns" in wanted else "l3_decomposition"
    tables = [Table(_long(entry[block], block), "date") for entry in good]
    return together(tables, [entry["ticker"] for entry in good]) or _empty(_long(_NOTHING[block], block))


def _long(block: Mapping[str, NDArray], kind: str) -> dict[str, NDArray]:
    ratios = {f"l3_{level}_hr": block[f"l3_{level}_hr"] for level in LEVELS}
    if kind == "returns":
        return {"date": block["dates"], "returns_gross": block["values"], **ratios}
    return {"date": block["dates"]} | {name: block[name] for name in block if name != "dates"}


_FLOATS = np.empty(0, np.float32)
_NOTHING: dict[str, dict[str, NDArray]] = {
    "returns": {"dates": texts([]), "values": _FLOATS, **{f"l3_{level}_hr": _FLOATS for level in LEVELS}},
    "l3_decomposition": {"dates": texts([]), **{sdk_name(w): _FLOATS for w in past.L3}},
}


def _empty(columns: Mapping[str, NDArray]) -> Table:
    return Table({"ticker": texts([]), **columns}, "ticker")


def depths(family: QueryFamily, tickers: Sequence[str], years: int, threshold: float | None) -> answers.Answer:
    """The depth worth hedging of each ticker, with a summary; a ticker that has no answer is an error of its own."""
    results: dict[str, Any] = {}
    tables: list[Table] = []
    for ticker in distinct(tickers):
        try:
            document, table = answers.lstar(family, ticker, years, threshold, None)
        except NothingThere as error:
            results[ticker] = {"ticker": ticker, "status": "not_found", "error": str(error)}
        except QueryError as error:
            results[ticker] = {"ticker": ticker, "status": "error", "error": str(error)}
        else:
            assert table is not None
            results[ticker] = {**document, "ticker": ticker, "status": "success"}
            tables.append(table)
    good = [ticker for ticker, entry in results.items() if entry["status"] == "success"]
    lost = sum(entry["status"] == "not_found" for entry in results.values())
    summary = {
        "total": len(results),
        "success": len(good),
        "errors": len(results) - len(good) - lost,
        "not_found": lost,
    }
    columns = (
        "lstar",
        "market_hr",
        "sector_hr",
        "subsector_hr",
        "total_er",
        "residual_return",
        "l2_sector_er",
        "l3_subsector_er",
    )
    nothing = _empty({"date": texts([]), "lstar": texts([])} | dict.fromkeys(columns[1:], _FLOATS))
    return {"results": results, "summary": summary}, together(tables, good) or nothing
