"""The landing zone of a run: the facts it works on, kept as Parquet in the run's scratch directory.

Each step of a run, in whatever process, reads the same landed facts; the source is asked once.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.market_data.point_in_time import Facts


def save_facts(facts: Facts, directory: Path) -> None:
    """One Parquet file for each frame of `facts`."""
    directory.mkdir(parents=True, exist_ok=True)
    for field in fields(facts):
        value = getattr(facts, field.name)
        if isinstance(value, pd.DataFrame):
            value.to_parquet(directory / f"{field.name}.parquet", index=False, compression="zstd")


def load_facts(directory: Path, restated_as_of: np.datetime64 | None = None) -> Facts:
    frames = {
        field.name: pd.read_parquet(directory / f"{field.name}.parquet")
        for field in fields(Facts)
        if field.name != "restated_as_of"
    }
    return Facts(**frames, restated_as_of=restated_as_of)


def cut(facts: Facts, first: int, last: int) -> Facts:
    """Facts that sessions up to `last` may use, without the bars before `first`.

    The first bar of each security stays, because it dates the listing.
    """
    frames: dict[str, Any] = {}
    for field in fields(facts):
        frame = getattr(facts, field.name)
        if isinstance(frame, pd.DataFrame) and "visible" in frame.columns:
            keep = (frame["visible"] <= last).to_numpy(copy=True)
            if field.name == "prices":
                session = frame["session"].to_numpy()
                recent = session >= first
                recent[frame[frame["visible"] <= session].drop_duplicates("sec_id").index] = True
                keep &= recent
            frames[field.name] = frame[keep].reset_index(drop=True)
    return replace(facts, **frames)
