"""What would change if the sessions that are published were computed again with what is known today.

A return is published from what was known at its session and stays. Facts that are learned later make a new version of
it: `late_changes` compares both versions and lists each cell with the sessions whose model values hold it in their
window. Nothing here publishes; a declared restatement does (docs/operations.md).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.returns.panel import DailyPanel

COLUMNS = [
    "sec_id",
    "session",
    "return_before",
    "return_after",
    "flag_before",
    "flag_after",
    "touched_first",
    "touched_last",
]


def late_changes(before: DailyPanel, after: DailyPanel, window: int) -> pd.DataFrame:
    """Cells that differ between two versions of one panel, as COLUMNS; sessions are ordinals.

    before, after: panels of one roster and range, for instance first prints and a version that is restated as of an
    instant. window: sessions of the model's windows; the cell is in those of [touched_first, touched_last].
    Raises ValueError when the panels do not cover the same cells.
    """
    same = before.first == after.first and before.last == after.last and list(before.sec_ids) == list(after.sec_ids)
    if not same:
        raise ValueError(
            f"panels of different cells: {len(before.sec_ids)} securities on {before.first}..{before.last} and "
            f"{len(after.sec_ids)} on {after.first}..{after.last}; compute both for one roster and range"
        )
    differ = ~((before.ret == after.ret) | (np.isnan(before.ret) & np.isnan(after.ret)))
    i, t = np.nonzero(differ)
    session = (t + before.first).astype(np.int32)
    return pd.DataFrame(
        {
            "sec_id": before.sec_ids[i],
            "session": session,
            "return_before": before.ret[i, t],
            "return_after": after.ret[i, t],
            "flag_before": [ReturnFlag(int(flag)).name.lower() for flag in before.flag[i, t]],
            "flag_after": [ReturnFlag(int(flag)).name.lower() for flag in after.flag[i, t]],
            "touched_first": session,
            "touched_last": session + window - 1,
        },
        columns=COLUMNS,
    ).sort_values(["session", "sec_id"], ignore_index=True)
