"""What `erm3 show` prints: one stock at one session, or the industries at one session, from the published stores."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.read import open_dataset, published_master
from pipeline.settings import Settings

LEVELS = ("market", "sector", "subsector")


def _at(dataset: xr.Dataset, on: date, **where: Any) -> xr.Dataset:
    day = np.datetime64(on, "D")
    sessions = dataset.teo.values.astype("datetime64[D]")
    if day not in sessions:
        raise LookupError(f"{on} is not a published session ({sessions[0]} to {sessions[-1]} are)")
    return dataset.sel(teo=day.astype("datetime64[ns]"), **where).compute()


def _fact_names(attrs: Mapping[str, Any]) -> dict[int, str]:
    return dict(zip((int(v) for v in np.atleast_1d(attrs["flag_values"])), attrs["flag_meanings"].split(), strict=True))


def stock(settings: Settings, symbol: str, on: date) -> dict[str, pd.DataFrame]:
    """Tables `day`, `betas`, `hedge` of one permanent id at one session, of the first factor set.

    Raises LookupError when the session is not published or the id is in no store.
    """
    fs = settings.factor_sets[0]
    daily = _at(open_dataset("ds_daily", settings.root), on, symbol=symbol)
    day = pd.DataFrame(
        {"value": {v: daily[v].item() for v in ("return", "close", "volume", "market_cap", "fs_industry_code")}}
    )
    betas = open_dataset(f"ds_erm3_betas_{fs}", settings.root)
    if symbol not in betas.symbol.values:
        raise LookupError(f"{symbol} was never a valid member of the universe of {fs}")
    raw = _at(betas, on, symbol=symbol)
    adjusted = _at(open_dataset(f"ds_erm3_betas_adjusted_{fs}", settings.root), on, symbol=symbol)
    names = _fact_names(betas["fact"].attrs)
    decomposed = _at(open_dataset(f"ds_erm3_returns_{fs}", settings.root), on, symbol=symbol)
    by_level = pd.DataFrame(
        {
            "ETF": [names.get(int(code), "") for code in raw["fact"].values],
            "beta": raw["factor_beta"].values,
            "s.e.": raw["beta_se"].values,
            "n_obs": raw["n_obs"].values,
            "adjusted": adjusted["factor_beta"].values,
            "shrinkage": adjusted["shrinkage_weight"].values,
            "factor return": decomposed["factor_return"].values[:3],
            "residual return": decomposed["residual_return"].values[:3],
        },
        index=pd.Index(LEVELS, name="level"),
    )
    weights = _at(open_dataset(f"ds_erm3_hedge_weights_{fs}", settings.root), on, symbol=symbol)
    hedge = pd.DataFrame(
        {
            f"{kind} {level}": [
                float(weights[f"L{k}_{level}_{kind}"]) if f"L{k}_{level}_{kind}" in weights else np.nan
                for k in (1, 2, 3)
            ]
            for kind, levels in (("HR", LEVELS), ("ER", (*LEVELS, "residual")))
            for level in levels
        },
        index=pd.Index(["L1", "L2", "L3"], name="hedge"),
    )
    return {"day": day, "betas": by_level, "hedge": hedge}


def industries(settings: Settings, on: date, level: str, min_peers: int) -> pd.DataFrame:
    """Aggregates of the industries with at least `min_peers` companies at one level, widest dispersion first."""
    if level not in LEVELS:
        raise LookupError(f"level {level!r} is not one of {', '.join(LEVELS)}")
    data = _at(open_dataset(f"ds_erm3_industry_{settings.factor_sets[0]}", settings.root), on, level=level)
    frame = data.drop_vars(["teo", "level"], errors="ignore").to_dataframe()
    frame = frame[frame.n_companies >= min_peers]
    frame["beta_sd"] = np.sqrt(frame.beta_variance)
    columns = ["n_companies", "n_facts", "beta_mean", "beta_sd", "beta_variance", "total_log_mcap_weight"]
    return frame[columns].sort_values("beta_variance", ascending=False)


def find(settings: Settings, what: str, on: date) -> str:
    """Permanent id of a ticker at a session, or of an id itself. Raises LookupError with candidates."""
    if what in open_dataset("ds_daily", settings.root).symbol.values:
        return what
    with published_master(settings.root) as master:
        found = master.resolve(what, as_of=on)
    if found is None:
        raise LookupError(f"no security had the ticker {what} on {on}")
    return found


def example(settings: Settings, on: date) -> tuple[str, str]:
    """A stock with all three levels at a session: its id and ticker."""
    betas = _at(open_dataset(f"ds_erm3_betas_{settings.factor_sets[0]}", settings.root), on)
    whole = np.isfinite(betas["factor_beta"].values).all(axis=1)
    if not whole.any():
        raise LookupError(f"no stock has all three levels on {on}")
    k = int(np.flatnonzero(whole)[0])
    return str(betas.symbol.values[k]), str(betas.ticker.values[k])
