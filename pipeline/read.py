"""Opening published data.

    ds = open_dataset("ds_erm3_betas_SPY_uni_mc_3000", root, as_of_manifest=True)

On a local disk a dataset stays on the publication that was live when it was opened, however long it is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from zarr.storage import LocalStore

from pipeline.store import StoreError, publications
from pipeline.store.filesystem import LocalObjects, open_objects
from pipeline.store.layout import MANIFEST, METADATA, PUBLICATIONS

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

HISTORY_COLUMNS = [
    "number",
    "publication",
    "kind",
    "reason",
    "run_id",
    "published_utc",
    "complete_through",
    "stores",
    "openable",
]


class PublicationRetired(StoreError):
    """The publication that a dataset was opened from has been removed."""


class PublishedStore(LocalStore):
    """One store of a publication. A chunk that is absent means NaN only while the publication is there."""

    publication: Path

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        found = await super().get(key, prototype, byte_range)
        if found is None and not (self.publication / MANIFEST).exists():
            raise PublicationRetired(
                f"{self.publication.name} was removed while it was read; open the dataset again, "
                "or keep more publications"
            )
        return found


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
    publication:    an earlier one by its id (see `history`); the live one by default.
    chunks:         as in `xarray.open_zarr`; None reads without dask.

    Raises StoreError when the store or the publication is not there.
    """
    objects = open_objects(root)
    assert isinstance(objects, LocalObjects)
    name = name.removesuffix(".zarr")
    opened = publication or publications.current_id(objects)
    if opened is None:
        raise StoreError(f"nothing is published under {objects.url}")
    prefix = f"{PUBLICATIONS}/{opened}"
    manifest = publications.read_manifest(objects, prefix)
    if manifest is None:
        known = ", ".join(row["publication"] for row in history(root).to_dict("records") if row["openable"])
        raise StoreError(f"{objects.url} has no publication {opened!r} to open; it has {known or 'none'}")
    if not objects.exists(f"{prefix}/{name}.zarr/{METADATA}"):
        raise StoreError(f"{objects.url} has no store {name!r} in {opened}; it has {', '.join(manifest['stores'])}")
    store = PublishedStore(objects.path / prefix / f"{name}.zarr", read_only=True)
    store.publication = objects.path / prefix
    dataset = xr.open_zarr(store, consolidated=True, chunks=chunks)
    dataset.attrs["publication"] = opened
    if as_of_manifest:
        through = manifest["complete_through"]
        if through is None:
            missing = ", ".join(sorted(set(manifest["family"]) - set(manifest["stores"])))
            raise StoreError(f"the family under {objects.url} is not complete yet: {missing} was never published")
        dataset = dataset.isel(teo=slice(0, int(np.searchsorted(dataset.teo.values, np.datetime64(through), "right"))))
    return dataset


def read_manifest(root: str | Path) -> dict[str, Any]:
    """The live manifest. Raises StoreError before the first publication."""
    objects = open_objects(root)
    manifest = publications.read_manifest(objects, publications.live_prefix(objects, publications.current_id(objects)))
    if manifest is None:
        raise StoreError(f"nothing is published under {objects.url}")
    return manifest


def history(root: str | Path, name: str | None = None) -> pd.DataFrame:
    """Publications, oldest first, with HISTORY_COLUMNS. With a name, those that wrote that store."""
    objects = open_objects(root)
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
            "openable": objects.exists(f"{PUBLICATIONS}/{record['publication']}/{MANIFEST}"),
        }
        for record in publications.records(objects)
        if name is None or name.removesuffix(".zarr") in record["stores"]
    ]
    return pd.DataFrame(rows, columns=HISTORY_COLUMNS)
