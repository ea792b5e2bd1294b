"""What `erm3 show` prints: one stock at one session, or the industries at one session, from the published stores."""

from __future__ import annotations

from datetime import date

import numpy as np

from pipeline.datasets import LEVELS
from pipeline.datasets.metadata import flags_of
from pipeline.query.table import Table, plain, texts
from pipeline.read import PublishedStore, open_family
from pipeline.settings import Settings
from security_master.errors import ExplainedError


class NotPublished(ExplainedError, LookupError):
    """What was asked for is not in the published stores."""


def _session(store: PublishedStore, on: date) -> int:
    """Position of a session."""
    sessions = store.values("teo").astype("datetime64[D]")
    at = np.flatnonzero(sessions == np.datetime64(on, "D"))
    if not len(at):
        raise NotPublished(f"{on} is not a published session ({sessions[0]} to {sessions[-1]} are)")
    return int(at[0])


def _stock(store: PublishedStore, symbol: str, on: date) -> dict[str, int]:
    """Position of a stock at a session."""
    at = np.flatnonzero(store.values("symbol") == symbol)
    if not len(at):
        raise NotPublished(f"{symbol} has no values in {store.name}: it is no stock, or was never a valid member")
    return {"teo": _session(store, on), "symbol": int(at[0])}


def stock(settings: Settings, symbol: str, on: date) -> dict[str, Table]:
    """Tables `day`, `betas`, `hedge` of one permanent id at one session, of the first factor set.

    Raises NotPublished when the session is not published or the id is in no store.
    """
    fs, family = settings.factor_sets[0], open_family(settings.root)
    daily = family.store("ds_daily")
    at = _stock(daily, symbol, on)
    shown = ("return", "close", "volume", "market_cap", "fs_industry_code")
    values = np.array([plain(daily.values(name, **at)[()]) for name in shown], float)
    day = Table({"field": texts(shown), "value": values}, "field")
    raw = family.store(f"ds_erm3_betas_{fs}")
    adjusted = family.store(f"ds_erm3_betas_adjusted_{fs}")
    decomposed = family.store(f"ds_erm3_returns_{fs}")
    names = flags_of(raw.metadata["fact/.zattrs"])
    in_raw, in_adjusted, in_decomposed = (_stock(store, symbol, on) for store in (raw, adjusted, decomposed))
    betas = Table(
        {
            "level": texts(LEVELS),
            "ETF": texts([names.get(int(code), "") for code in raw.values("fact", **in_raw)]),
            "beta": raw.values("factor_beta", **in_raw),
            "s.e.": raw.values("beta_se", **in_raw),
            "n_obs": raw.values("n_obs", **in_raw),
            "adjusted": adjusted.values("factor_beta", **in_adjusted),
            "shrinkage": adjusted.values("shrinkage_weight", **in_adjusted),
            "factor return": decomposed.values("factor_return", **in_decomposed)[:3],
            "residual return": decomposed.values("residual_return", **in_decomposed)[:3],
        },
        "level",
    )
    weights = family.store(f"ds_erm3_hedge_weights_{fs}")
    return {"day": day, "betas": betas, "hedge": _hedge(weights, symbol, on)}


def _hedge(weights: PublishedStore, symbol: str, on: date) -> Table:
    """Hedge ratios (HR) and explained risk (ER) of the hedges at L1 to L3; NaN where a hedge has no such leg."""
    at = _stock(weights, symbol, on)

    def value(name: str) -> np.float32:
        return np.float32(weights.values(name, **at) if f"{name}/.zarray" in weights.metadata else np.nan)

    columns = {
        f"{kind} {level}": np.array([value(f"L{k}_{level}_{kind}") for k in (1, 2, 3)])
        for kind, levels in (("HR", LEVELS), ("ER", (*LEVELS, "residual")))
        for level in levels
    }
    return Table({"hedge": texts(["L1", "L2", "L3"]), **columns}, "hedge")


def industries(settings: Settings, on: date, level: str, min_peers: int) -> Table:
    """Aggregates of the industries with at least `min_peers` companies at one level, widest dispersion first."""
    if level not in LEVELS:
        raise NotPublished(f"level {level!r} is not one of {', '.join(LEVELS)}")
    store = open_family(settings.root).store(f"ds_erm3_industry_{settings.factor_sets[0]}")
    at = {"teo": _session(store, on), "level": store.values("level").tolist().index(level)}
    variance = store.values("beta_variance", **at)
    columns = {
        "fs_industry_code": store.values("fs_industry_code"),
        **{name: store.values(name, **at) for name in ("n_companies", "n_facts", "beta_mean")},
        "beta_sd": np.sqrt(variance),
        "beta_variance": variance,
        "total_log_mcap_weight": store.values("total_log_mcap_weight", **at),
    }
    widest = np.argsort(-variance, kind="stable")
    return Table(columns, "fs_industry_code").rows_at(widest[columns["n_companies"][widest] >= min_peers])


def last_session(settings: Settings) -> date:
    """The last published session. Raises NotPublished before the whole family has been published."""
    through = open_family(settings.root).record["complete_through"]
    if through is None:
        raise NotPublished(f"no session is complete in {settings.root}: some store has never been published")
    return date.fromisoformat(str(through))


def find(settings: Settings, what: str, on: date) -> str:
    """Permanent id of a ticker at a session, or of an id itself. Raises NotPublished, UnknownTicker."""
    family = open_family(settings.root)
    if what in family.store("ds_daily").values("symbol"):
        return what
    with family.directory() as directory:
        found = directory.resolve(what, as_of=on)
    if found is None:
        raise NotPublished(f"no security had the ticker {what} on {on}")
    if found in family.store("ds_etf").values("symbol"):
        raise NotPublished(
            f"{what} is an ETF: it has no betas and no hedge ratios; `erm3 returns {what}` has its returns"
        )
    return found


def example(settings: Settings, on: date) -> tuple[str, str]:
    """A stock with all three levels at a session: its id and ticker."""
    betas = open_family(settings.root).store(f"ds_erm3_betas_{settings.factor_sets[0]}")
    whole = np.isfinite(betas.values("factor_beta", teo=_session(betas, on))).all(axis=1)
    if not whole.any():
        raise NotPublished(f"no stock has all three levels on {on}")
    k = int(np.flatnonzero(whole)[0])
    return str(betas.values("symbol")[k]), str(betas.values("ticker")[k])
