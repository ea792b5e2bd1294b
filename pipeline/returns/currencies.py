"""Dollars for the money in which a security's closes are quoted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from security_master.panels import attributes


def dollars_of_closes(
    listings: pd.DataFrame,
    fx: pd.DataFrame,
    sec_ids: NDArray[np.object_],
    first: int,
    on: tuple[NDArray[np.datetime64], NDArray[np.datetime64]],
    max_age: int,
) -> NDArray[np.float64]:
    """(n, T) dollars for one unit of each security's money, NaN where no rate is known.

    listings: SecurityMaster.listings; fx: `fx_rates` of `Facts`; first: ordinal of column 0; on: the sessions (T,) and
    their knowledge instants (T,); max_age: sessions that a rate may be old.
    """
    rate = np.ones((len(sec_ids), len(on[0])))
    ever = set(listings.loc[~listings["currency"].isin(["USD", ""]), "sec_id"])
    abroad = np.flatnonzero([sec_id in ever for sec_id in sec_ids])
    if not len(abroad):
        return rate
    days, instants = (np.tile(values, len(abroad)) for values in on)
    quoted = attributes(listings, np.repeat(sec_ids[abroad], len(on[0])), days, instants)["currency"]
    sessions = np.tile(np.arange(first, first + len(on[0])), len(abroad))
    found = rates(fx, quoted.replace("", "USD").to_numpy(object), sessions, sessions, max_age)
    rate[abroad] = found.reshape(len(abroad), -1)
    return rate


def rates(
    fx: pd.DataFrame,
    currency: NDArray[np.object_],
    session: NDArray[np.integer[Any]],
    moment: NDArray[np.integer[Any]],
    max_age: int,
) -> NDArray[np.float64]:
    """USD for one unit at each session: the latest rate not older than `max_age` that was known at `moment`."""
    found = np.where(currency == "USD", 1.0, np.nan)
    for name in sorted(set(currency) - {"USD"}):
        rows = fx[fx["currency"] == name].sort_values(["session", "visible"])
        at, visible, rate = (rows[column].to_numpy() for column in ("session", "visible", "usd_rate"))
        for k in np.flatnonzero(currency == name):
            fit = (at <= session[k]) & (at >= session[k] - max_age) & (visible <= moment[k])
            if fit.any():
                found[k] = rate[fit][-1]
    return found
