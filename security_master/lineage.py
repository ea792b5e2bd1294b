"""Where a security came from and what became of it: mergers, spin-offs, decisions that two ids are one claim."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from security_master.dates import dates_of
from security_master.intervals import Holders

AHEAD_DAYS = 30
"""A successor or a spun-off child may list this long after the event."""

COLUMNS = ["event", "date", "from_sec_id", "to_sec_id", "ratio", "cash", "known_from", "evidence"]


def lineage(
    listings: pd.DataFrame, delistings: pd.DataFrame, actions: pd.DataFrame, decisions: pd.DataFrame
) -> pd.DataFrame:
    """All edges from one security to another, sorted by date.

    event: reason of the delisting, `spin_off`, or `same_claim` (a decision). ratio: new shares for one old.
    """
    holders = Holders.of_codes(listings)
    one_day = np.timedelta64(1, "D")  # a successor may take the very code over, on the day after
    ends = delistings[delistings["successor_code"] != ""]
    spins = actions[actions["type"] == "spin_off"]
    edges = [
        _edges(ends, ends["reason"], ends["last_session"], ends["successor_ratio"]).assign(
            to_sec_id=holders.find(_codes(ends["successor_code"]), _days(ends["last_session"]) + one_day, AHEAD_DAYS),
        ),
        _edges(spins, "spin_off", spins["ex_date"], spins["child_ratio"]).assign(
            to_sec_id=holders.find(_codes(spins["child_code"]), _days(spins["ex_date"]), AHEAD_DAYS),
        ),
        decisions.reindex(columns=COLUMNS),
    ]
    frame = pd.concat([frame for frame in edges if len(frame)] or edges[:1], ignore_index=True)[COLUMNS]
    text = [column for column in COLUMNS if column not in ("ratio", "cash")]
    frame = frame.astype(dict.fromkeys(text, "str"))
    frame = frame[frame["to_sec_id"] != ""]
    return frame.sort_values(["date", "from_sec_id", "to_sec_id"], ignore_index=True)


def _edges(facts: pd.DataFrame, event: object, date: pd.Series, ratio: pd.Series) -> pd.DataFrame:
    frame = pd.DataFrame({"event": event, "date": date, "from_sec_id": facts["sec_id"], "to_sec_id": ""})
    cash = facts["cash"].astype(float) if "cash" in facts else np.nan
    return frame.assign(
        ratio=ratio.astype(float), cash=cash, known_from=facts["known_from"], evidence=facts["evidence"]
    )


def _codes(column: pd.Series) -> pd.Categorical:
    return pd.Categorical(column.to_numpy(object))


def _days(column: pd.Series) -> NDArray[np.datetime64]:
    return dates_of(column)
