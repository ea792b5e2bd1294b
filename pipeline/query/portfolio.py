"""Portfolios: dollars (or weights) by name, at the session of D or over the sessions up to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.query.errors import BadQuestion, NotComputable, QueryError, one_of
from pipeline.query.fields import BY_WIRE, FIELDS, HEDGE, L3_SHARES, LEGS
from pipeline.query.snapshot import deepest, levels, per_etf, row
from pipeline.query.values import LEAST, YEAR, etfs_at, of_stock, through_time

if TYPE_CHECKING:
    from pipeline.query.dates import On
    from pipeline.query.family import QueryFamily

MOST_NAMES = 5000
RATIOS = tuple(field for field in FIELDS if field.store == HEDGE and field.variable.endswith("_HR"))


@dataclass(frozen=True)
class Hedge:
    """Signed dollars of each ETF for a portfolio.

    teo: the session. levels: the depth at which each name is hedged. missing: why a name is not hedged.
    """

    teo: str
    level: str
    dollars: dict[str, float]
    levels: dict[str, str]
    missing: dict[str, str]


def positions(weights: Mapping[str, float]) -> dict[str, float]:
    """Checked weights. Raises BadQuestion."""
    if not weights:
        raise BadQuestion("the portfolio is empty; give at least one name with its weight", code="empty_portfolio")
    if len(weights) > MOST_NAMES:
        raise BadQuestion(
            f"the portfolio has {len(weights):,} names, at most {MOST_NAMES:,} are taken", code="too_large"
        )
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number) or not math.isfinite(weight):
            raise BadQuestion(f"the weight of {str(name)[:40]} is no finite number", code="invalid_weight")
    return {name: float(weight) for name, weight in weights.items()}


def _symbols(family: QueryFamily, weights: Mapping[str, float], on: On) -> tuple[dict[str, str], dict[str, str]]:
    """(permanent ids by name, why others have none)."""
    found, missing = {}, {}
    for name in weights:
        try:
            found[name] = family.stock(name, on.day).symbol
        except QueryError as error:
            missing[name] = str(error)
    return found, missing


def _mean(pairs: list[tuple[float, Any]]) -> float | None:
    """sum(w x) / sum(w) over those that have x; None without any, or where the weights cancel."""
    have = [(w, float(x)) for w, x in pairs if x is not None]
    total = math.fsum(w for w, _ in have)
    return math.fsum(w * x for w, x in have) / total if have and total else None


def hedge_ratios(family: QueryFamily, weights: Mapping[str, float], on: Any) -> dict[str, float | None]:
    """See QueryFamily.portfolio_hedge_ratios."""
    asked, held = family.on(on), positions(weights)
    symbols, _ = _symbols(family, held, asked)
    return {
        field.sdk: _mean([(held[n], of_stock(family, field, s, asked.session)) for n, s in symbols.items()])
        for field in RATIOS
    }


def hedge(family: QueryFamily, weights: Mapping[str, float], on: Any, level: str) -> Hedge:
    """See QueryFamily.portfolio_hedge."""
    one_of("level", level, ("L1", "L2", "L3"))
    asked, held = family.on(on), positions(weights)
    symbols, missing = _symbols(family, held, asked)
    terms: dict[str, list[float]] = {}
    depth: dict[str, str] = {}
    for name, symbol in symbols.items():
        blocks = levels(row(family, symbol, asked.session), etfs_at(family, symbol, asked.session))
        if blocks["L1"]["market_hr"] is None:
            missing[name] = f"{symbol} has no hedge ratio at {family.teo(asked.session)}"
            continue
        block = deepest(blocks, level)
        depth[name] = next(key for key in ("L1", "L2", "L3") if blocks[key] == block)
        for etf, ratio in per_etf(block).items():
            terms.setdefault(etf, []).append(held[name] * float(ratio))
    dollars = {etf: math.fsum(parts) for etf, parts in sorted(terms.items())}
    return Hedge(family.teo(asked.session), level, dollars, depth, missing)


def decomposition(family: QueryFamily, weights: Mapping[str, float], on: Any) -> dict[str, Any]:
    """See QueryFamily.portfolio_decomposition.

    `mean` describes the names; `realised` is the portfolio's own: V0 = Var(sum w r), Vk = Var(sum w residual_k). A name
    without a residual at a level counts with that of the level above; a session is complete when each name has a return
    and an L1 residual. Raises NotComputable for fewer than 126 complete sessions, or names that nothing is known of.
    """
    asked, held = family.on(on), positions(weights)
    symbols, missing = _symbols(family, held, asked)
    mean = {
        BY_WIRE[wire].sdk: _mean(
            [(held[n], of_stock(family, BY_WIRE[wire], s, asked.session)) for n, s in symbols.items()]
        )
        for wire in L3_SHARES
    }
    if not symbols:
        raise NotComputable(f"none of the {len(held)} names is known on {asked.day}")
    held_by_id = _by_symbol(held, symbols)
    series = _sums(family, held_by_id, asked.session - YEAR + 1, asked.session + 1)
    complete = np.isfinite(series["gross"]) & np.isfinite(series["residual_1"])
    if complete.sum() < LEAST:
        raise NotComputable(f"{int(complete.sum())} of the last {YEAR} sessions are complete, {LEAST} are needed")
    v0, *rest = (float(np.var(series[name][complete])) for name in ("gross", "residual_1", "residual_2", "residual_3"))
    if v0 == 0:
        raise NotComputable("the portfolio's return did not move: there is no risk to divide")
    v1, v2, v3 = rest
    realised = {
        "market": (v0 - v1) / v0,
        "sector": (v1 - v2) / v0,
        "subsector": (v2 - v3) / v0,
        "residual": v3 / v0,
        "volatility": math.sqrt(YEAR * v0),
        "sessions": int(complete.sum()),
    }
    return {"teo": family.teo(asked.session), "mean": mean, "realised": realised, "missing": missing}


def _by_symbol(held: Mapping[str, float], symbols: Mapping[str, str]) -> dict[str, float]:
    """Weights by permanent id: two names of one security are one holding."""
    out: dict[str, float] = {}
    for name, symbol in symbols.items():
        out[symbol] = out.get(symbol, 0.0) + held[name]
    return out


def _sums(family: QueryFamily, held: Mapping[str, float], first: int, last: int) -> dict[str, NDArray]:
    """Weighted sums of returns and of the residuals at each level, (sessions,); NaN where a name has none."""
    total = {name: np.zeros(last - first) for name in ("gross", "residual_1", "residual_2", "residual_3")}
    for symbol, weight in held.items():
        total["gross"] += weight * through_time(family, BY_WIRE["returns_gross"], symbol, first, last).astype(
            np.float64
        )
        above = np.full(last - first, np.nan)
        for depth in LEGS:
            own = through_time(family, BY_WIRE[f"l{depth}_rr"], symbol, first, last).astype(np.float64)
            above = np.where(np.isfinite(own), own, above)
            total[f"residual_{depth}"] += weight * above
    return total


def residuals(family: QueryFamily, weights: Mapping[str, float], on: Any) -> tuple[NDArray, dict[str, NDArray]]:
    """(sessions of the year up to D, sums of returns `gross` and of residuals `residual_1` to `residual_3`).

    NaN where a name has none; names that nothing is known of are left out. Raises NotComputable without any other.
    """
    asked, held = family.on(on), positions(weights)
    symbols, _ = _symbols(family, held, asked)
    if not symbols:
        raise NotComputable(f"none of the {len(held)} names is known on {asked.day}")
    first, last = max(asked.session - YEAR + 1, 0), asked.session + 1
    return family.sessions[first:last], _sums(family, _by_symbol(held, symbols), first, last)


def bridge(family: QueryFamily, who: str | Mapping[str, float], start: Any, end: Any) -> dict[str, Any]:
    """See QueryFamily.return_bridge.

    P1 = prod(1 + m), P2 = prod(1 + m + s), P3 = prod(1 + m + s + u), PG = prod(1 + g), over the sessions that have all
    four; the bars P1 - 1, P2 - P1, P3 - P2, PG - P3 add up to PG - 1.
    """
    first, asked = family.between(start, end)
    held = {who: 1.0} if isinstance(who, str) else positions(who)
    symbols = {name: family.stock(name, asked.day).symbol for name in held}
    size = math.fsum(held.values())
    if not size:
        raise NotComputable("the weights add to 0: a return on them is not defined")
    wires = {"market": "l1_fr", "sector": "l2_fr", "subsector": "l3_fr", "gross": "returns_gross"}
    sums = {name: np.zeros(asked.session + 1 - first) for name in wires}
    for name, symbol in symbols.items():
        for part, wire in wires.items():
            values = through_time(family, BY_WIRE[wire], symbol, first, asked.session + 1)
            sums[part] += held[name] / size * values.astype(np.float64)
    have = np.all([np.isfinite(values) for values in sums.values()], axis=0)
    if not have.any():
        raise NotComputable(
            f"no session from {family.teo(first)} to {family.teo(asked.session)} has returns at all levels"
        )
    m, s, u, g = (sums[part][have] for part in wires)
    p1, p2, p3, pg = (float(np.prod(1 + x)) for x in (m, m + s, m + s + u, g))
    days = family.sessions[first : asked.session + 1][have]
    bars = {"market": p1 - 1, "sector": p2 - p1, "subsector": p3 - p2, "residual": pg - p3, "total": pg - 1}
    return {"start": str(days[0]), "end": str(days[-1]), "sessions": len(days), "symbols": symbols, "bars": bars}
