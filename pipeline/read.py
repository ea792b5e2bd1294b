"""Opening published data.

family = open_family(root)                                            # one publication, whatever follows
betas = family.dataset("ds_erm3_betas_SPY_uni_mc_3000", as_of_manifest=True)
hedge = family.dataset("ds_erm3_hedge_weights_SPY_uni_mc_3000", as_of_manifest=True)

returns = open_dataset("ds_daily", root, as_of_manifest=True)         # one store alone
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.store import integrity
from pipeline.store.chunks import ChunkedArray
from pipeline.store.filesystem import open_publications
from pipeline.store.layout import DIGESTS, MANIFEST, METADATA, join, store_key
from pipeline.store.objects import Objects, StoreError, document
from pipeline.store.publications import Publications, number_of
from pipeline.store.publish_cloud import RESTATEMENT_MARK
from pipeline.store.seal import Damaged, sha256, stated
from security_master import MASTER_FILE, TickerDirectory
from security_master.schema import MasterDamaged, SchemaVersionError

if TYPE_CHECKING:  # a few values, and who is who, are read without them
    import pandas as pd
    import xarray as xr

    from security_master import SecurityMaster

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


@dataclass(frozen=True)
class Family:
    """The stores of one publication: whatever is published meanwhile, all that is opened here belongs together.

    record: what the publication says of itself; `publication` is its id.
    sizes:  cells along each axis, by store; what was written beyond them is not yet published.

    How long it can be read: at least a day after it was replaced, for good when a restatement replaced it. After that
    reading raises PublicationRetired, and never gives missing values instead. Opened with `open_family`.
    """

    root: str
    objects: Objects
    prefix: str
    record: Mapping[str, Any]
    sizes: Mapping[str, dict[str, int]]

    @property
    def publication(self) -> str:
        return str(self.record["publication"])

    @property
    def stores(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def store(self, name: str) -> PublishedStore:
        """A store without xarray: for a few of its values, where the imports would take longer than the reading.

        Raises StoreError when it is not there.
        """
        name = name.removesuffix(".zarr")
        if name not in self.sizes:
            have = ", ".join(self.sizes)
            raise StoreError(f"{self.objects.url} has no store {name!r} in {self.publication}; it has {have}")
        return PublishedStore(self.objects, self.prefix, name, self.sizes[name])

    def dataset(self, name: str, as_of_manifest: bool = False, chunks: Any = None) -> xr.Dataset:
        """A store as xarray opens it, lazily; the arguments are those of `open_dataset`."""
        # Imports that the other questions about a root do not need.
        import xarray as xr

        from pipeline.store.zarr_store import ReadOnlyStore

        published = self.store(name)
        store = ReadOnlyStore(published.read, published.keys)
        dataset = xr.open_zarr(store, consolidated=True, chunks=chunks, zarr_format=2)
        dataset = dataset.isel({dim: slice(0, size) for dim, size in published.sizes.items() if dim in dataset.dims})
        # numpy's own text type, which xarray opens texts as, is one that many functions do not take yet.
        texts = [str(name) for name, array in dataset.coords.items() if array.dtype.kind == "T"]
        dataset = dataset.assign_coords({name: dataset[name].astype(object) for name in texts})
        dataset.attrs["publication"] = self.publication
        return self._complete(published.name, dataset) if as_of_manifest else dataset

    def _complete(self, name: str, dataset: xr.Dataset) -> xr.Dataset:
        """The sessions through which the whole family is complete."""
        through = self.record["complete_through"]
        if through is None:
            raise StoreError(f"the family under {self.objects.url} is not complete in {self.publication}")
        if RESTATEMENT_MARK in dataset.attrs:
            raise StoreError(
                f"{name} is being restated by {dataset.attrs[RESTATEMENT_MARK]}; try again when it has ended, "
                f"or open publication {self.publication!r} by its name"
            )
        return dataset.isel(teo=slice(0, int(np.searchsorted(dataset.teo.values, np.datetime64(through), "right"))))

    def is_there(self) -> bool:
        """Whether its rows still lie where they are read, so that what was read before is right.

        In a bucket the next publication lies where this one did; a restatement first makes a copy of what it replaces.
        """
        publications = open_publications(self.objects)
        return _lies(publications, self.record) == self.prefix

    def file(self, name: str) -> bytes | None:
        """A file that was published beside the stores; None when none was. Raises Damaged when it is lost."""
        return _read(self.objects, self.prefix, name)

    def master(self) -> AbstractContextManager[SecurityMaster]:
        """The security master that was published with these stores; with a later one, where they are read from that."""
        return published_master(self.root, self._lies_in)

    def directory(self) -> AbstractContextManager[TickerDirectory]:
        """That master, for questions about tickers: without pandas."""
        return published_directory(self.root, self._lies_in)

    @property
    def _lies_in(self) -> str:
        """Id of the publication that is kept, and has the rows of this one."""
        return self.prefix.rpartition("/")[2] or self.publication


def open_family(root: str | Path, publication: str | None = None) -> Family:
    """All stores of one publication, the live one by default.

    publication: an earlier one by its id (see `history`). One that is not kept as it was is read from the next one that
                 is, cut to its size: values are the same, tickers are the later ones.

    Raises StoreError when the publication is not there, Damaged when what says so was lost.
    """
    publications = open_publications(root)
    url = publications.objects.url
    manifest = publications.manifest()
    if manifest is None:
        raise StoreError(f"nothing is published under {url}; publish a run there first (erm3 run, erm3 demo)")
    if publication is None or publication == manifest["publication"]:
        wanted, state = manifest, manifest["stores"]
    else:
        wanted = _record(publications, publication)
        state = wanted["state"]
    prefix = _lies(publications, wanted)
    if prefix is None:
        raise PublicationRetired(f"publication {wanted['publication']!r} under {url} is no longer kept")
    sizes = {name: dict(entry["sizes"]) for name, entry in state.items()}
    return Family(str(root), publications.objects, prefix, wanted, sizes)


def open_dataset(
    name: str,
    root: str | Path,
    as_of_manifest: bool = False,
    publication: str | None = None,
    chunks: Any = None,
) -> xr.Dataset:
    """Opens one store lazily. Several that belong together are opened from one `open_family`.

    name:           of the store, `ds_daily` for example.
    as_of_manifest: only the sessions through which the whole family is complete (`complete_through`).
    publication:    as in `open_family`.
    chunks:         as in `xarray.open_zarr`; None reads without dask.

    Raises StoreError when the store or the publication is not there.
    """
    return open_family(root, publication).dataset(name, as_of_manifest, chunks)


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


def _lies(publications: Publications, wanted: Mapping[str, Any]) -> str | None:
    """Where the rows of a publication lie: there, or in the next one that is kept, if no restatement came between.

    wanted: its manifest or record.
    """
    if (own := publications.prefix(wanted["publication"])) is not None:
        return own
    for name in publications.kept():
        if number_of(name) >= wanted["number"]:
            record = publications.record(number_of(name))
            return publications.prefix(name) if record and record["generation"] == wanted["generation"] else None
    return None


@dataclass(frozen=True)
class PublishedStore:
    """One store of a publication.

    prefix: where the publication lies. sizes: its cells along each axis.
    """

    objects: Objects
    prefix: str
    name: str
    sizes: dict[str, int]

    def read(self, key: str) -> bytes | None:
        """An object of the store; None where none was published. Raises Damaged, PublicationRetired."""
        return _read(self.objects, self.prefix, f"{store_key(self.name)}/{key}")

    def keys(self) -> list[str]:
        return self.objects.keys(join(self.prefix, store_key(self.name)))

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The arrays of the store and their attributes, by key."""
        where = join(self.objects.url, self.prefix, store_key(self.name), METADATA)
        return dict(document(self.read(METADATA) or b"", where).get("metadata", {}))

    def values(self, name: str, **at: int) -> NDArray:
        """An array as it is stored; at one position along the axes that are named, which are then left out."""
        axes = ChunkedArray.stored(name, self.metadata).dims
        found = self.region(name, **{dim: slice(k, k + 1) for dim, k in at.items()})
        return found[tuple(0 if dim in at else slice(None) for dim in axes)]

    def region(self, name: str, **parts: slice) -> NDArray:
        """An array as it is stored, or parts of it along named axes; no more is unpacked than has to be."""
        array = ChunkedArray.stored(name, self.metadata)
        region = tuple(
            slice(*parts.get(dim, slice(None)).indices(self.sizes.get(dim, n)))
            for dim, n in zip(array.dims, array.shape, strict=True)
        )
        out = array.empty(tuple(max(part.stop - part.start, 0) for part in region))
        for index, inside, outside in array.blocks(region):
            if (data := self.read(array.key(index))) is not None:
                out[outside] = array.decode_rows(data, inside[0])[:, *inside[1:]]
        return out


def _read(objects: Objects, prefix: str, key: str) -> bytes | None:
    """An object of the publication that lies at `prefix`; None where none was published."""
    data = objects.read(join(prefix, key))
    if data is not None:
        return data
    # An absent chunk means NaN, but only where none was published, and as long as the publication is there.
    manifest = objects.read(join(prefix, MANIFEST))
    if manifest is None:
        raise PublicationRetired(
            f"{objects.url}/{prefix} was removed while it was read; open the dataset again, or keep more publications"
        )
    if key in _published(objects, join(prefix, DIGESTS), json.loads(manifest).get("digests_sha256", "")):
        raise Damaged(objects.url, [f"{key} is missing"])
    return None


@lru_cache(maxsize=4)
def _published(objects: Objects, key: str, digest: str) -> frozenset[str]:
    """Keys of all objects of a publication, from its digests."""
    data = objects.read(key)
    if data is None or sha256(data) != digest:
        return frozenset()  # of an older version, or just being replaced in a bucket
    return frozenset(json.loads(data)["objects"])


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
    import pandas as pd

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

    Raises StoreError when the root has none, or does not keep that publication, and Damaged when it is another.
    """
    from security_master import SecurityMaster

    with _master_file(root, publication) as path, SecurityMaster.open(path) as master:
        yield master


@contextmanager
def published_directory(root: str | Path, publication: str | None = None) -> Iterator[TickerDirectory]:
    """As `published_master`, for questions about tickers: without pandas."""
    with _master_file(root, publication) as path, TickerDirectory.open(path) as directory:
        yield directory


@contextmanager
def _master_file(root: str | Path, publication: str | None) -> Iterator[Path]:
    """A copy of a published master, for as long as it is open."""
    publications = open_publications(root)
    manifest = publications.manifest()
    wanted = publication if publication is not None or manifest is None else str(manifest["publication"])
    prefix = "" if wanted is None else publications.prefix(wanted)
    if prefix is None:
        raise StoreError(f"{root} keeps no publication {wanted!r}; `erm3 history` lists those it has")
    data = publications.objects.read(join(prefix, MASTER_FILE))
    if data is None:
        raise StoreError(f"no {MASTER_FILE} in {root}; make one with `erm3 security build` or `erm3 run`")
    if wanted is not None:
        try:
            _, digests = stated(publications.objects, prefix, wanted)
        except ValueError as error:
            raise Damaged(publications.objects.url, [str(error)]) from error
        if digests is not None and digests.get(MASTER_FILE) != sha256(data):
            raise Damaged(publications.objects.url, [f"{join(prefix, MASTER_FILE)} is not what was published"])
    with TemporaryDirectory() as directory:
        path = Path(directory) / MASTER_FILE
        path.write_bytes(data)
        try:
            yield path
        except (MasterDamaged, SchemaVersionError) as error:  # a person knows nothing of our copy
            where = join(publications.objects.url, prefix, MASTER_FILE)
            raise type(error)(str(error).replace(str(path), where)) from error
