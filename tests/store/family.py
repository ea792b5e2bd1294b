"""A small family of stores whose every cell is known, published by the tests of this directory."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.datasets import CoordinateSpec, DatasetSpec, VariableSpec
from pipeline.datasets.shared import LEVEL, SYMBOL, TEO, TICKER
from pipeline.store.filesystem import open_publications
from pipeline.store.layout import LEASE
from pipeline.store.manifest import Publication
from pipeline.store.objects import Objects
from pipeline.store.promote import promote
from pipeline.store.stage import Stage
from pipeline.store.staged_store import StagedStore

SESSIONS = xnys().sessions
FIRST = xnys().ordinal("2023-01-03")
PRICES = DatasetSpec(
    "ds_prices",
    "ds_prices",
    "Prices",
    "Two variables over symbols.",
    (TEO, SYMBOL, TICKER),
    (
        VariableSpec("return", ("teo", "symbol"), "float32", "return", "1"),
        VariableSpec("flag", ("teo", "symbol"), "int16", "flag", flags=((0, "none"), (1, "one"))),
    ),
    (("dataset_id", "ds_prices"), ("schema_version", "1.0")),
)
INDUSTRY = CoordinateSpec("fs_industry_code", ("fs_industry_code",), "int16", "industry", open_flags=True)
BETAS = DatasetSpec(
    "ds_betas",
    "ds_betas",
    "Betas",
    "A variable with levels, and one over another axis.",
    (TEO, SYMBOL, TICKER, INDUSTRY, LEVEL),
    (
        VariableSpec("beta", ("teo", "symbol", "level"), "float32", "beta", "1"),
        VariableSpec("member", ("teo", "symbol"), "bool", "member"),
        VariableSpec("n", ("teo", "fs_industry_code"), "int16", "stocks"),
    ),
    (("dataset_id", "ds_betas"), ("schema_version", "1.0")),
    levels=("market", "sector"),
)
FAMILY = {spec.name: spec for spec in (PRICES, BETAS)}


def clock() -> datetime:
    """A clock that stands still, so that everything stored is reproducible."""
    return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def sessions(count: int) -> NDArray[np.datetime64]:
    """The first sessions of 2023."""
    return SESSIONS[FIRST : FIRST + count]


def symbols(count: int) -> list[str]:
    return [f"S{k:04d}" for k in range(count)]


def expected(var: str, dtype: str, rows: slice, cols: slice, level: int = 0, version: int = 0) -> NDArray:
    """Values by position alone; a tenth of the float cells is NaN. `version` changes the rows from 3 on."""
    row = np.arange(rows.start, rows.stop)[:, None]
    col = np.arange(cols.start, cols.stop)[None, :]
    seed = zlib.crc32(f"{var}{level}".encode()) % 1000
    mixed = (row * 7919 + col * 104729 + seed * 31 + np.where(row >= 3, version, 0) * 17) % 1009
    if dtype == "float32":
        return np.where(mixed % 10 == 0, np.nan, mixed / 1009 - 0.5).astype(np.float32)
    return (mixed % 2).astype(dtype)


def write_block(store: StagedStore, rows: slice, version: int = 0) -> None:
    """Writes the expected values of some rows and all columns."""
    for var in store.spec.variables:
        cols = slice(0, store.sizes[var.dims[1]])
        for level in range(len(store.spec.levels)) if "level" in var.dims else (None,):
            values = expected(var.name, var.dtype, rows, cols, level or 0, version)
            store.write(var.name, rows, cols, values, None if level is None else store.spec.levels[level])


def stage_store(
    stage: Stage, spec: DatasetSpec, count: int, names: list[str], version: int = 0, rewrite_from: int | None = None
) -> StagedStore:
    """Extends a store to `count` sessions and writes the new rows, or those from `rewrite_from` on."""
    store = stage.create_or_open(spec, {"window": 252})
    old = len(store.teo)
    store.extend(teo=sessions(count)[old:], symbol=names[len(store.symbol) :])
    if "fs_industry_code" in spec.axes:
        store.extend(fs_industry_code=np.arange(1110 + len(store.axis("fs_industry_code")), 1113))
    store.set_coord("ticker", [f"T{name}" for name in names])
    write_block(store, slice(old if rewrite_from is None else rewrite_from, count), version)
    store.close()
    return store


def audit_all(stage: Stage) -> None:
    for name in stage.staged_stores:
        stage.record_audit(name, True, {}, [{"check": "values", "passed": True}])


def stage_family(stage: Stage, count: int, names: list[str], version: int = 0, rewrite_from: int | None = None) -> None:
    for spec in FAMILY.values():
        stage_store(stage, spec, count, names, version, rewrite_from)
    audit_all(stage)


def promote_family(stage: Stage, keep: int = 5, keep_for: timedelta = timedelta(0)) -> Publication | None:
    return promote(stage, list(FAMILY), SESSIONS, keep, keep_for)


def publish(root: str | Path | Objects, run_id: str, count: int, names: list[str], keep: int = 5) -> Publication | None:
    """A whole run that appends up to `count` sessions."""
    with Stage.begin(root, run_id, clock=clock) as stage:
        stage_family(stage, count, names)
        return promote_family(stage, keep)


def restate(
    root: str | Path | Objects, run_id: str, count: int, names: list[str], version: int = 1
) -> Publication | None:
    """A whole run that rewrites the sessions from the fourth on with another version of their values."""
    info = {"from": str(sessions(4)[3]), "to": str(sessions(count)[-1]), "reason": "a late split"}
    with Stage.begin(root, run_id, "restatement", info, clock=clock) as stage:
        stage_family(stage, count, names, version, rewrite_from=3)
        return promote_family(stage)


def live_bytes(root: str | Path | Objects) -> dict[str, str]:
    """Hash of every object that readers see, by key."""
    publications = open_publications(root)
    current = publications.current()
    if current is None:
        return {}
    prefix = publications.live_prefix(current)
    objects = publications.objects
    found = {}
    for name in objects.children(prefix):
        if name.startswith("."):
            continue
        key = f"{prefix}/{name}" if prefix else name
        inner = objects.keys(key)
        for part in [f"{key}/{each}" for each in inner] or [key]:
            data = objects.read(part)
            if data is not None:
                found[part.removeprefix(f"{prefix}/")] = hashlib.sha256(data).hexdigest()
    return found


def bury(root: Path) -> None:
    """Makes the lease look as if its process had been killed."""
    path = root / LEASE
    if path.exists():
        lease: dict[str, Any] = json.loads(path.read_text())
        for process in lease["processes"]:
            process["started"] = "0"
        path.write_text(json.dumps(lease))


def raw_metadata(root: Path, name: str) -> Mapping[str, Any]:
    return json.loads((root / f"{name}.zarr" / ".zmetadata").read_bytes())["metadata"]
