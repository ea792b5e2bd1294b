"""A small simulated market, published through the engine, and what readers then see."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.calendar import xnys
from pipeline.read import open_dataset, read_manifest
from pipeline.settings import AuditBounds, ModelParameters, Settings, SimulatedMarket
from pipeline.sources import SourceTables
from pipeline.vendors.layers import open_source

FIRST, LAST = "2018-12-03", "2019-04-30"
"""Published sessions. Everything in front of them is warm-up of the real 252-session window."""
MARKET = SimulatedMarket(stocks=60, first_session="2018-01-02", last_session=LAST)
MODEL = ModelParameters(min_peers=3)  # so that some of the small industries shrink
AUDIT = AuditBounds(recomputed_cells=1)
"""A recomputed cell costs as much as a store; those that look for planted faults take more."""
FACTOR_SET = "SPY_uni_mc_3000"
VOLATILE = {"created_utc", "updated_utc", "run_id", "code_version", "security_master_build", "publication"}


def settings_for(root: Path | str, **changes: Any) -> Settings:
    given: dict[str, Any] = {"simulated": MARKET, "model": MODEL, "audit": AUDIT, **changes}
    return Settings(root=str(root), **given)


@cache
def tables_of(market: SimulatedMarket = MARKET) -> SourceTables:
    """The whole market, as known after its last session."""
    return open_source(Settings(simulated=market)).load()


@dataclass(frozen=True)
class Delivered:
    """A source that hands out tables made before."""

    tables: SourceTables
    name: str = "simulated"

    def load(self) -> SourceTables:
        return self.tables


def known_at(tables: SourceTables, session: object) -> Delivered:
    """What the vendor had delivered a quarter of an hour after the close of a session."""
    calendar = xnys()
    return Delivered(tables.as_known(calendar.knowledge_instants([calendar.ordinal(session)], 15)[0]))


def sessions(first: object, last: object) -> list[str]:
    return [str(day) for day in xnys().between(first, last)]


Arrays = dict[str, np.ndarray]


def published(root: Path | str, through: object | None = None) -> dict[str, Arrays]:
    """Every array of every store that readers see: values by store and name, cut after the session `through`."""
    found: dict[str, Arrays] = {}
    for name in read_manifest(root)["stores"]:
        with open_dataset(name, root) as dataset:
            if through is not None:
                dataset = dataset.sel(teo=slice(None, str(through)))
            found[name] = {str(key): dataset[key].values for key in dataset.variables}
    return found


def lasting_attributes(root: Path | str) -> dict[str, dict[str, Any]]:
    """Root attributes of every store without those that say who wrote last."""
    found = {}
    for name in read_manifest(root)["stores"]:
        with open_dataset(name, root) as dataset:
            found[name] = {key: value for key, value in dataset.attrs.items() if key not in VOLATILE}
    return found


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Shape, dtype and every bit are the same (all NaN that are published have the same bits)."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind == "f":
        a, b = a.view(f"u{a.dtype.itemsize}"), b.view(f"u{b.dtype.itemsize}")
    return bool(np.array_equal(a, b))


def differences(a: dict[str, Arrays], b: dict[str, Arrays], ignore: tuple[str, ...] = ()) -> list[str]:
    """Names of the stores and arrays in which two roots differ by a bit."""
    found = [f"{store}: only in one root" for store in sorted(a.keys() ^ b.keys())]
    for store in sorted(a.keys() & b.keys()):
        for name in sorted(a[store].keys() | b[store].keys()):
            if name not in ignore and not (
                name in a[store] and name in b[store] and same_bits(a[store][name], b[store][name])
            ):
                found.append(f"{store}/{name}")
    return found


def seen_by_readers(root: Path | str) -> dict[str, str]:
    """Hash of every file under a root that a reader may open: all but the staging area and the lease."""
    hashes = {}
    for path in sorted(Path(root).rglob("*")):
        inside = path.relative_to(root).as_posix()
        if path.is_file() and not inside.startswith((".staging", ".lease")):
            hashes[inside] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


def stored_values(root: Path | str) -> dict[str, bytes]:
    """The bytes of every chunk that readers see, and metadata without what says who wrote last."""
    found = {}
    for path in sorted(Path(root).glob("*.zarr/**/*")):
        if path.is_file():
            data = path.read_bytes()
            if path.name in (".zattrs", ".zmetadata"):
                data = json.dumps(_without_volatile(json.loads(data)), sort_keys=True).encode()
            found[path.relative_to(root).as_posix()] = data
    return found


def _without_volatile(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _without_volatile(value) for key, value in document.items() if key not in VOLATILE}
    return document
