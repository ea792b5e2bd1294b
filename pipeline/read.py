"""Opening published data.

    ds = open_dataset("ds_erm3_betas_SPY_uni_mc_3000", root, as_of_manifest=True)

On a local disk a dataset stays on the publication that was live when it was opened, however long it is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.store.layout import MANIFEST, join
from pipeline.store.objects import Objects, StoreError
from pipeline.store.publications import Publications
from pipeline.store.publish_cloud import RESTATEMENT_MARK
from pipeline.store.roots import open_publications
from pipeline.store.zarr_store import ReadOnlyStore

HISTORY_COLUMNS = [
    "number",
    "publication",
    "kind",
    "reason",
    "run_id",
    "published_utc",
    "complete_through",
    "stores",
    "kept",
]


class PublicationRetired(StoreError):
    """The publication that a dataset was opened from has been removed."""


def open_dataset(
    name: str,
    root: str | Path,
    as_of_manifest: bool = False,
    publication: str | None = None,
    chunks: Any = None,
) -> xr.Dataset:
    """Opens a store lazily.

    name:           of the store, `ds_daily` for example.
    as_of_manifest: only the sessions through which the whole family is complete (`complete_through`).
    publication:    an earlier one by its id (see `history`); the live one by default. One that is not kept as it was is
                    read from the next one that is, cut to its size: values are the same, tickers are the later ones.
    chunks:         as in `xarray.open_zarr`; None reads without dask.

    Raises StoreError when the store or the publication is not there.
    """
    publications = open_publications(root)
    name = name.removesuffix(".zarr")
    records = {record["publication"]: record for record in publications.records()}
    if not records:
        raise StoreError(f"nothing is published under {publications.objects.url}")
    wanted = publication or str(publications.current())
    if wanted not in records:
        raise StoreError(f"{publications.objects.url} has no publication {wanted!r}; it has {', '.join(records)}")
    state = records[wanted]["state"]
    if name not in state:
        raise StoreError(f"{publications.objects.url} has no store {name!r} in {wanted}; it has {', '.join(state)}")
    prefix = _kept(publications, wanted, list(records.values()))
    dataset = xr.open_zarr(
        _zarr_store(publications.objects, prefix, name), consolidated=True, chunks=chunks, zarr_format=2
    )
    dataset = dataset.isel({dim: slice(0, size) for dim, size in state[name]["sizes"].items() if dim in dataset.dims})
    dataset.attrs["publication"] = wanted
    if as_of_manifest:
        through = records[wanted]["complete_through"]
        if through is None:
            raise StoreError(f"the family under {publications.objects.url} is not complete in {wanted}")
        if RESTATEMENT_MARK in dataset.attrs:
            raise StoreError(
                f"{name} is being restated by {dataset.attrs[RESTATEMENT_MARK]}; try again when it has ended, "
                f"or open publication {wanted!r} by its name"
            )
        dataset = dataset.isel(teo=slice(0, int(np.searchsorted(dataset.teo.values, np.datetime64(through), "right"))))
    return dataset


def _kept(publications: Publications, wanted: str, records: list[dict[str, Any]]) -> str:
    """Where the rows of a publication lie: there, or in the next one that is kept with no restatement between."""
    later = records[[record["publication"] for record in records].index(wanted) :]
    for record in later:
        if record is not later[0] and record["kind"] == "restatement":
            break
        prefix = publications.prefix(record["publication"])
        if prefix is not None:
            return prefix
    raise StoreError(f"publication {wanted!r} under {publications.objects.url} is no longer kept")


def _zarr_store(objects: Objects, prefix: str, name: str) -> ReadOnlyStore:
    store = join(prefix, f"{name}.zarr")

    def read(key: str) -> bytes | None:
        data = objects.read(f"{store}/{key}")
        # An absent chunk means NaN, but only as long as the publication has not been removed.
        if data is None and not objects.exists(join(prefix, MANIFEST)):
            raise PublicationRetired(
                f"{objects.url}/{prefix} was removed while it was read; open the dataset again or keep more of them"
            )
        return data

    return ReadOnlyStore(read, lambda: objects.keys(store))


def read_manifest(root: str | Path) -> dict[str, Any]:
    """The live manifest. Raises StoreError before the first publication."""
    publications = open_publications(root)
    manifest = publications.manifest()
    if manifest is None:
        raise StoreError(f"nothing is published under {publications.objects.url}")
    return manifest


def history(root: str | Path, name: str | None = None) -> pd.DataFrame:
    """Publications, oldest first, with HISTORY_COLUMNS; with a name, those that wrote that store.

    `kept` ones are there as they were; `open_dataset` can open the others too, unless a restatement came before the
    next kept one.
    """
    publications = open_publications(root)
    rows = [
        {
            "number": record["number"],
            "publication": record["publication"],
            "kind": record["kind"],
            "reason": record["info"].get("reason", ""),
            "run_id": record["run_id"],
            "published_utc": record["published_utc"],
            "complete_through": record["complete_through"],
            "stores": ", ".join(record["stores"]),
            "kept": publications.prefix(record["publication"]) is not None,
        }
        for record in publications.records()
        if name is None or name.removesuffix(".zarr") in record["stores"]
    ]
    return pd.DataFrame(rows, columns=HISTORY_COLUMNS)
