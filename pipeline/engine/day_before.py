"""The stocks of a run held against the session before (`pipeline.quality.day_before`)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.engine.prices import Block, with_sessions_before
from pipeline.engine.run import Run
from pipeline.market_data.gate import refuse_undecided
from pipeline.quality.day_before import Stocks, against_the_day_before
from pipeline.store.staged_store import StagedStore


def hold_against_the_day_before(
    run: Run, store: StagedStore, block: Block, shares: NDArray[np.float64], first: int
) -> pd.DataFrame:
    """Findings about a block of `ds_daily` from the session `first` on, against what is published or staged before it.

    shares: (n, T) as the security master has them, NaN where none is known.
    Raises BatchFault where too much is missing or another and nobody decided about it.
    """
    symbols = store.symbol
    close, cap, ret, industry = (
        with_sessions_before(run, store, block, name, first - 1, first)
        for name in ("close", "market_cap", "return", "fs_industry_code")
    )
    flag = np.concatenate([np.zeros((len(symbols), 1), np.int16), block["return_flag"]], axis=1)
    shares = np.concatenate([np.full((len(symbols), 1), np.nan), shares], axis=1)
    stocks = Stocks(symbols, close, cap, ret, np.nan_to_num(industry).astype(np.int64), flag, shares)
    day = run.calendar.sessions[run.first]
    named = lambda ids: [str(name) for name in run.master.labels(np.array(ids, object), day)[0]]  # noqa: E731
    found = against_the_day_before(stocks, first, named, run.settings.rules.day_before)
    refuse_undecided(found, run.decisions)
    return found
