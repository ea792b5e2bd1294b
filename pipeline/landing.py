"""The landing zone of a run: the facts it works on, kept as Parquet in the run's scratch directory.

Each step of a run, in whatever process, reads the same landed facts; the source is asked once.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.facts import Facts


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


def since(facts: Facts, first: int) -> Facts:
    """Facts without the bars before ordinal `first`, except the first bar of each security (it dates the listing)."""
    prices = facts.prices
    on_time = prices["visible"] <= prices["session"]
    opening = prices[on_time].drop_duplicates("sec_id").index
    keep = (prices["session"] >= first).to_numpy(copy=True)
    keep[opening] = True
    return replace(facts, prices=prices[keep].reset_index(drop=True))
