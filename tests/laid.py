"""Tables laid into a directory as a vendor delivers them: Parquet, the prices in parts by half-year."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.sources.specs import KNOWN_FROM, TABLES


def delivered_rows(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A table of `SourceTables` as a vendor writes it."""
    columns = [column.name for column in (*TABLES[name].columns, KNOWN_FROM) if column.name in frame]
    instants = {c: frame[c].dt.tz_localize("UTC") for c in ("known_from", "filed_at") if c in columns}
    return frame[columns].assign(**instants)


def lay(directory: Path, frames: Mapping[str, pd.DataFrame]) -> Path:
    """The frames of a source (`SourceTables.frames`) as files; a part that is there with these rows stays as it is."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        rows = delivered_rows(name, frame)
        if name != "prices":
            if len(rows):
                rows.to_parquet(directory / f"{name}.parquet", index=False)
            continue
        parts = directory / "prices.parquet"
        parts.mkdir(exist_ok=True)
        rows["vendor_code"] = rows["vendor_code"].astype("str")
        for half, own in rows.groupby(rows["date"].dt.year * 2 + rows["date"].dt.month.gt(6)):
            own.to_parquet(parts / f"{half // 2}-{half % 2 + 1}.parquet", index=False)
    return directory
