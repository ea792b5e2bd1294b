"""Opening published data.

    ds = open_dataset("ds_erm3_betas_SPY_uni_mc_3000", root, as_of_manifest=True)

On a local disk a dataset stays on the publication that was live when it was opened, however long it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.store import integrity
from pipeline.store.chunks import ChunkedArray
from pipeline.store.filesystem import open_publications
from pipeline.store.layout import MANIFEST, METADATA, join, store_key
from pipeline.store.objects import Objects, StoreError
from pipeline.store.publications import Publications, number_of
from pipeline.store.publish_cloud import RESTATEMENT_MARK
from security_master import MASTER_FILE, SecurityMaster

if TYPE_CHECKING:
    import xarray as xr

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
    # Half a second of imports that the other questions about a root do not need.
    import xarray as xr

    from pipeline.store.zarr_store import ReadOnlyStore

    published = open_store(name, root, publication)
    store, wanted = ReadOnlyStore(published.read, published.keys), published.record
    dataset = xr.open_zarr(store, consolidated=True, chunks=chunks, zarr_format=2)
    dataset = dataset.isel({dim: slice(0, size) for dim, size in published.sizes.items() if dim in dataset.dims})
    dataset.attrs["publication"] = wanted["publication"]
    if as_of_manifest:
        through = wanted["complete_through"]
        if through is None:
            raise StoreError(f"the family under {published.objects.url} is not complete in {wanted['publication']}")
        if RESTATEMENT_MARK in dataset.attrs:
            raise StoreError(
                f"{published.name} is being restated by {dataset.attrs[RESTATEMENT_MARK]}; try again when it has "
                f"ended, or open publication {wanted['publication']!r} by its name"
            )
        dataset = dataset.isel(teo=slice(0, int(np.searchsorted(dataset.teo.values, np.datetime64(through), "right"))))
    return dataset


def _record(publications: Publications, publication: str) -> dict[str, Any]:
    try:
        record = publications.record(number_of(publication))
    except ValueError:
        record = None
    if record is None or record["publication"] != publication:
        raise StoreError(
            f"{publications.objects.url} has no publication {publication!r}; the live one is {publications.current()}, "
            "history(root) lists all"
        )
    return record


def _kept(publications: Publications, wanted: dict[str, Any]) -> str | None:
    """Where the rows of a publication lie: there, or in the next one that is kept, if no restatement came between."""
    for name in publications.kept():
        if number_of(name) >= wanted["number"]:
            record = publications.record(number_of(name))
            return publications.prefix(name) if record and record["generation"] == wanted["generation"] else None
    return None


def open_store(name: str, root: str | Path, publication: str | None = None) -> PublishedStore:
    """A store without xarray: for a few of its values, where the imports would take longer than the reading.

    Raises StoreError when the store or the publication is not there.
    """
    publications = open_publications(root)
    url = publications.objects.url
    name = name.removesuffix(".zarr")
    manifest = publications.manifest()
    if manifest is None:
        raise StoreError(f"nothing is published under {url}")
    if publication is None or publication == manifest["publication"]:
        wanted, state, prefix = manifest, manifest["stores"], publications.prefix(manifest["publication"])
    else:
        wanted = _record(publications, publication)
        state, prefix = wanted["state"], _kept(publications, wanted)
    if prefix is None:
        raise PublicationRetired(f"publication {wanted['publication']!r} under {url} is no longer kept")
    if name not in state:
        raise StoreError(f"{url} has no store {name!r} in {wanted['publication']}; it has {', '.join(state)}")
    return PublishedStore(publications.objects, prefix, name, wanted, state[name]["sizes"])


@dataclass(frozen=True)
class PublishedStore:
    """One store of a publication.

    prefix: where the publication lies. record: what it says of itself. sizes: its cells along each axis; what was
    written beyond them is not yet published.
    """

    objects: Objects
    prefix: str
    name: str
    record: dict[str, Any]
    sizes: dict[str, int]

    def read(self, key: str) -> bytes | None:
        data = self.objects.read(join(self.prefix, store_key(self.name), key))
        # An absent chunk means NaN, but only as long as the publication has not been removed.
        if data is None and not self.objects.exists(join(self.prefix, MANIFEST)):
            raise PublicationRetired(
                f"{self.objects.url}/{self.prefix} was removed while it was read; open the dataset again, "
                "or keep more publications"
            )
        return data

    def keys(self) -> list[str]:
        return self.objects.keys(join(self.prefix, store_key(self.name)))

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The arrays of the store and their attributes, by key."""
        found: dict[str, Any] = json.loads(self.read(METADATA) or b"{}")["metadata"]
        return found

    def values(self, name: str, **at: int) -> NDArray:
        """An array as it is stored; at one position along the axes that are named, which are then left out."""
        array = ChunkedArray.stored(name, self.metadata)
        axes = list(zip(array.dims, array.shape, strict=True))
        region = tuple(
            slice(at[dim], at[dim] + 1) if dim in at else slice(0, self.sizes.get(dim, n)) for dim, n in axes
        )
        out = array.empty(tuple(part.stop - part.start for part in region))
        for index, inside, outside in array.blocks(region):
            if (data := self.read(array.key(index))) is not None:
                out[outside] = array.decode(data)[inside]
        return out[tuple(0 if dim in at else slice(None) for dim in array.dims)]


def read_manifest(root: str | Path) -> dict[str, Any]:
    """The live manifest. Raises StoreError before the first publication."""
    publications = open_publications(root)
    manifest = publications.manifest()
    if manifest is None:
        raise StoreError(f"nothing is published under {publications.objects.url}")
    return manifest


def damage(root: str | Path) -> list[str]:
    """Reads every object of the live publication. What is wrong with it, a sentence each; empty when all is well."""
    return integrity.damage(open_publications(root))


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


@contextmanager
def published_master(root: str | Path, publication: str | None = None) -> Iterator[SecurityMaster]:
    """The security master at a root: of a publication (the live one by default), or the one that was built alone there.

    Raises StoreError when the root has none, or does not keep that publication.
    """
    publications = open_publications(root)
    wanted = publication or publications.current()
    prefix = "" if wanted is None else publications.prefix(wanted)
    if prefix is None:
        raise StoreError(f"{root} keeps no publication {wanted!r}; `erm3 history` lists those it has")
    data = publications.objects.read(join(prefix, MASTER_FILE))
    if data is None:
        raise StoreError(f"no {MASTER_FILE} in {root}; make one with `erm3 security build` or `erm3 run`")
    with TemporaryDirectory() as directory:
        path = Path(directory) / MASTER_FILE
        path.write_bytes(data)
        with SecurityMaster.open(path) as master:
            yield master
