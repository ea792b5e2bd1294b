"""How a security is shown: its ticker at a date, and a label that no other security has."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray


def labels(spans: pd.DataFrame, sec_ids: ArrayLike, day: str) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """(ticker, unique_ticker) of each security at a date; spans: rows of ticker_map.

    ticker: the one at the date, or the last one it had by then; "" before its first. unique_ticker: `X` for the holder
    of X at the date (the listed one, should X be quoted over the counter too), `X#N` for one that had it before, N
    counting the securities that have had X from the oldest on, so that N stays as later holders come.
    """
    spans = spans[spans["valid_from"] <= day].sort_values(["valid_from", "sec_id"], kind="stable")
    holders = spans.drop_duplicates(["ticker", "sec_id"])
    ordinal = dict(
        zip(
            zip(holders["ticker"], holders["sec_id"], strict=True),
            holders.groupby("ticker").cumcount() + 1,
            strict=True,
        )
    )
    last = spans.drop_duplicates("sec_id", keep="last")
    ticker_of = dict(zip(last["sec_id"], last["ticker"], strict=True))
    now = spans[spans["valid_to"] > day].assign(unlisted=lambda f: f["trading_mode"].ne("regular"))
    now = now.sort_values(["unlisted", "valid_from", "sec_id"], kind="stable").drop_duplicates("ticker")
    holder_of = dict(zip(now["ticker"], now["sec_id"], strict=True))
    wanted = [str(sec_id) for sec_id in np.asarray(sec_ids, dtype=object)]
    tickers = [str(ticker_of.get(sec_id, "")) for sec_id in wanted]
    unique = [
        ticker if not ticker or holder_of.get(ticker) == sec_id else f"{ticker}#{ordinal[ticker, sec_id]}"
        for ticker, sec_id in zip(tickers, wanted, strict=True)
    ]
    return np.array(tickers, dtype=object), np.array(unique, dtype=object)
