"""One store of a run: opened or created in the overlay, extended at the end of its axes, written block by block."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.datasets import DatasetSpec, VariableSpec, render_metadata
from pipeline.datasets.metadata import consolidated, plain, to_json
from pipeline.datasets.spec import Flags
from pipeline.store.checked import WrongShape, exactly, floats, repeated, some, span, texts
from pipeline.store.chunks import ChunkedArray, Region
from pipeline.store.layout import METADATA
from pipeline.store.objects import StoreError
from pipeline.store.overlay import Overlay
from pipeline.store.stored_chunks import StoredChunks
from pipeline.store.structure import check_structure, lasting, merged_flags, render_flags

if TYPE_CHECKING:
    import xarray as xr

_LOCKS = tuple(threading.Lock() for _ in range(64))


class StagedStore:
    """A store in the overlay of a run.

    Rows and columns are positions on *this* store's axes: get them from `rows_of` and `cols_of`, never from another
    store. `extend` first, then `write` (from several threads if you like), then `close`, which writes coordinates and
    metadata. Nothing that is not closed can be audited or published.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        overlay: Overlay,
        executor: Executor,
        run_id: str,
        clock: Callable[[], datetime],
        attributes: Mapping[str, Any] | None = None,
        flags: Mapping[str, Flags] | None = None,
    ) -> None:
        self.spec = spec
        self.overlay = overlay
        self._executor = executor
        self._run_id = run_id
        self._clock = clock
        live = overlay.get_live(METADATA)
        known = overlay.get(METADATA)
        self._live: dict[str, Any] = json.loads(live)["metadata"] if live else {}
        self._known: dict[str, Any] = json.loads(known)["metadata"] if known else {}
        self.sizes = self._known_sizes()
        self._coordinates: dict[str, NDArray] = {}
        self._attributes = {**self._known.get(".zattrs", {}), **dict(spec.attributes), **plain(attributes or {})}
        self.chunks = StoredChunks(spec.name, overlay, self._live)
        self._flags = {
            array.name: merged_flags(spec, self._known, array.name, (flags or {}).get(array.name, ()))
            for array in spec.arrays
            if array.open_flags
        }
        if unknown := set(flags or {}) - set(self._flags):
            raise WrongShape(f"{spec.name}: flags were given for {sorted(unknown)}, which declare no open_flags")
        check_structure(spec, self._known)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def exists_live(self) -> bool:
        """Whether the store has been published before."""
        return bool(self._live)

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self._attributes)

    @property
    def teo(self) -> NDArray[np.datetime64]:
        return self.axis("teo").astype("datetime64[D]")

    @property
    def symbol(self) -> NDArray[np.object_]:
        return self.axis("symbol")

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.spec.variables)

    def axis(self, name: str) -> NDArray:
        """Values of a coordinate, not to be written to: `teo` in days (int64), texts as objects, codes as int16."""
        if name not in self._coordinates:
            self._coordinates[name] = self._stored_coordinate(name)
        return self._coordinates[name]

    def flags(self, name: str) -> dict[int, str]:
        """Codes of an array and their meanings, the declared and the open ones."""
        declared = render_flags(self.spec.array(name).flags)
        return dict((*declared, *self._flags.get(name, ())))

    def rows_of(self, sessions: ArrayLike) -> slice:
        """Rows of consecutive sessions of this store. Raises WrongShape when one is missing or lies between."""
        wanted = np.asarray(sessions, "datetime64[D]").ravel()
        if not len(wanted):
            return slice(0, 0)
        first = int(np.searchsorted(self.teo, wanted[0]))
        found = self.teo[first : first + len(wanted)]
        if not np.array_equal(found, wanted):
            missing = wanted[~np.isin(wanted, self.teo)]
            problem = f"does not have {some(missing)}" if len(missing) else "has other sessions between them"
            raise WrongShape(f"{self.name}: asked for {len(wanted)} sessions {span(wanted)}, but the store {problem}")
        return slice(first, first + len(wanted))

    def cols_of(self, symbols: Iterable[object], axis: str = "symbol") -> NDArray[np.intp]:
        """Positions of symbols (or of industries, links) on this store's axis. Raises WrongShape for unknown ones."""
        position = {value: k for k, value in enumerate(self.axis(axis).tolist())}
        wanted = [value.item() if isinstance(value, np.generic) else value for value in symbols]
        if unknown := [value for value in wanted if value not in position]:
            raise WrongShape(f"{self.name}: {some(unknown)} is not on the axis {axis} ({len(position)} values)")
        return np.fromiter((position[value] for value in wanted), np.intp, len(wanted))

    # growing

    def extend(self, **added: ArrayLike) -> None:
        """Adds values at the end of axes: `extend(teo=sessions, symbol=ids)`. New cells hold no value until written."""
        for name, values in added.items():
            if name not in self.spec.axes or name == "level":
                raise WrongShape(
                    f"{self.name} has no axis {name!r} that could grow; it has {', '.join(self.spec.axes)}"
                )
            old, new = self.axis(name), self._checked(name, values)
            if name == "teo":
                if (np.diff(np.concatenate([old[-1:], new])) <= 0).any():
                    last = f" after {self.teo[-1]}" if len(old) else ""
                    raise WrongShape(
                        f"{self.name}: new sessions must increase{last}, found {span(new.astype('M8[D]'))}"
                    )
            elif twice := repeated([*old.tolist(), *new.tolist()]):
                raise WrongShape(f"{self.name}: {some(twice)} would stand twice on the axis {name}")
            self._coordinates[name] = np.concatenate([old, new])
            self.sizes[name] = len(old) + len(new)

    def set_coord(self, name: str, values: ArrayLike) -> None:
        """Sets all values of a coordinate beside an axis, such as `ticker`."""
        if name not in {label.name for label in self.spec.labels}:
            labels = ", ".join(label.name for label in self.spec.labels) or "none"
            raise WrongShape(f"{self.name}: {name!r} is no coordinate beside an axis; it has {labels}")
        new = self._checked(name, values)
        if len(new) != (size := self.sizes[self.spec.array(name).dims[0]]):
            raise WrongShape(f"{self.name}: {name} needs {size} values, one for each {self.spec.array(name).dims[0]}; "
                             f"found {len(new)}")  # fmt: skip
        self._coordinates[name] = new

    # values

    def write(self, var: str, rows: slice, cols: slice, values: ArrayLike, level: str | None = None) -> None:
        """Writes a block of `(rows, cols)`, or `(rows, cols, levels)` for a variable with levels unless one is named.

        float32 takes any real number but infinity; the integer and bool variables take exactly their kind.
        Threads may write different blocks at once; blocks on chunk borders are fastest.
        """
        array = self._variable(var)
        block = values if level is None else np.asarray(values)[..., np.newaxis]
        self._write_block([array], self._region(array, rows, cols, level), block)

    def write_alike(self, names: Iterable[str], rows: slice, cols: slice, values: ArrayLike) -> None:
        """Writes one block into several variables. Chunks that become the same are compressed once."""
        layouts: dict[object, list[ChunkedArray]] = {}
        for array in map(self._variable, names):
            layouts.setdefault((array.dtype, array.shape, array.chunks), []).append(array)
        for arrays in layouts.values():
            self._write_block(arrays, self._region(arrays[0], rows, cols, None), values)

    def stretches(self, var: str, rows: slice) -> list[slice]:
        """Rows cut where the chunks of a variable begin."""
        return self._variable(var).stretches(rows)

    def read(self, var: str, rows: slice | None = None, cols: slice | None = None, level: str | None = None) -> NDArray:
        """A block as stored: float32 with NaN, codes as int16. Shapes as in `write`; None is the whole axis."""
        array = self._variable(var)
        region = self._region(array, rows, cols, level)
        shape = tuple(part.stop - part.start for part in region)
        out = np.empty(shape, object if array.dtype == "str" else array.dtype)

        def read_chunk(place: tuple[tuple[int, ...], Region, Region]) -> None:
            index, (rows, *others), outside = place
            out[outside] = self.chunks.rows(array, index, rows)[(slice(None), *others)]

        self._each(read_chunk, list(array.blocks(region)))
        return out[..., 0] if level is not None else out

    def staged_chunks(self, var: str, rows: slice, cols: slice) -> dict[str, str]:
        """Content hash of each chunk of a block that is staged, by its key."""
        array = self._variable(var)
        keys = [array.key(index) for index, _, _ in array.blocks(self._region(array, rows, cols, None))]
        return {key: found for key in keys if (found := self.overlay.staged_fingerprint(key))}

    def dataset(self) -> xr.Dataset:
        """The overlay as xarray sees it, lazily. Closes what was written so far."""
        import xarray as xr

        from pipeline.store.zarr_store import ReadOnlyStore

        self.close()
        return xr.open_zarr(
            ReadOnlyStore(self.overlay.get, self.overlay.keys), consolidated=True, chunks=None, zarr_format=2
        )

    def close(self) -> None:
        """Writes coordinates, the chunks of fill values that new cells need, and the metadata, consolidated last.

        A store in which nothing differs from the live one is left without staged objects.
        """
        if "level" in self.spec.axes:
            self._coordinates["level"] = np.array(self.spec.levels, object)
        for coordinate in self.spec.coordinates:
            values = self.axis(coordinate.name)
            if len(values) != self.sizes[coordinate.dims[0]]:
                raise WrongShape(
                    f"{self.name}: {coordinate.dims[0]} has {self.sizes[coordinate.dims[0]]} values, but "
                    f"{coordinate.name} {len(values)}; set_coord({coordinate.name!r}, ...) before closing"
                )
            array = ChunkedArray.declared(coordinate, values.shape)
            for index, inside, outside in array.blocks(array.whole()):
                chunk = array.empty()
                chunk[inside] = values[outside]
                self.chunks.put(array, array.key(index), array.encode(chunk))
        self._fill_new_chunks()
        self._write_metadata()

    # inside

    def _known_sizes(self) -> dict[str, int]:
        sizes = dict.fromkeys(self.spec.axes, 0) | {"level": len(self.spec.levels)}
        for array in self.spec.arrays:
            if zarray := self._known.get(f"{array.name}/.zarray"):
                sizes |= dict(zip(array.dims, zarray["shape"], strict=True))
        return {dim: sizes[dim] for dim in self.spec.axes}

    def _stored_coordinate(self, name: str) -> NDArray:
        spec = self.spec.array(name)
        stored = self._known.get(f"{name}/.zarray")
        array = ChunkedArray.declared(spec, tuple(stored["shape"]) if stored else (0,))
        values = array.empty(array.shape)
        for index, inside, outside in array.blocks(array.whole()):
            data = self.overlay.get(array.key(index))
            if data is None:
                raise StoreError(
                    f"{self.name}: the coordinate chunk {array.key(index)} is missing; the store is damaged"
                )
            values[outside] = array.decode(data)[inside]
        return values

    def _checked(self, name: str, values: ArrayLike) -> NDArray:
        """Coordinate values in their stored dtype."""
        dtype, where = self.spec.array(name).dtype, f"{self.name}/{name}"
        if name == "teo":
            return np.asarray(values, "datetime64[D]").ravel().astype("int64")
        if dtype != "str":
            return exactly(np.asarray(values).ravel(), dtype, where)
        checked = texts(values, where)
        if name in self.spec.axes and (checked == "").any():
            raise WrongShape(f"{where}: an empty text cannot stand on an axis")
        return checked

    def _variable(self, name: str) -> ChunkedArray:
        spec = self.spec.array(name)
        if not isinstance(spec, VariableSpec):
            raise WrongShape(f"{self.name}: {name} is a coordinate; use axis, extend or set_coord")
        shape = tuple(self.sizes[dim] for dim in spec.dims)
        if f"{name}/.zarray" in self._known:
            return replace(ChunkedArray.stored(name, self._known), shape=shape)
        return ChunkedArray.declared(spec, shape)

    def _region(self, array: ChunkedArray, rows: slice | None, cols: slice | None, level: str | None) -> Region:
        parts: list[slice] = []
        for part, dim, size in zip((rows, cols), array.dims, array.shape, strict=False):
            start, stop, step = (part or slice(None)).indices(size)
            if step != 1 or (part and part.stop is not None and part.stop > size):
                raise WrongShape(f"{self.name}/{array.name}: {part} does not lie within the {size} values of {dim}")
            parts.append(slice(start, max(start, stop)))
        if len(array.dims) == 3:
            if level is not None and level not in self.spec.levels:
                raise WrongShape(f"{self.name}: no level {level!r}; it has {', '.join(self.spec.levels)}")
            k = 0 if level is None else self.spec.levels.index(level)
            parts.append(slice(0, len(self.spec.levels)) if level is None else slice(k, k + 1))
        elif level is not None:
            raise WrongShape(f"{self.name}/{array.name} has no levels, but level={level!r} was given")
        return tuple(parts)

    def _write_block(self, arrays: Sequence[ChunkedArray], region: Region, values: ArrayLike) -> None:
        one, where = arrays[0], ", ".join(f"{self.name}/{array.name}" for array in arrays)
        block = floats(values, where) if one.dtype == "float32" else exactly(values, one.dtype, where)
        expected = tuple(part.stop - part.start for part in region)
        if block.shape != expected:
            raise WrongShape(f"{where}: expected values of shape {expected}, found {block.shape}")

        def write_chunk(place: tuple[tuple[int, ...], Region, Region]) -> None:
            index, inside, outside = place
            whole = one.covers(index, inside)
            packed: list[tuple[bytes | None, bytes | None]] = []  # what was there, and what it became
            for array in arrays:
                key = array.key(index)
                with nullcontext() if whole else _LOCKS[hash((self.name, key)) % len(_LOCKS)]:
                    before = None if whole else self.overlay.get(key)
                    found = [data for was, data in packed if was == before]
                    data = found[0] if found else self.chunks.packed(array, index, before, inside, block[outside])
                    packed.append((before, data))
                    self.chunks.put(array, key, data, before)

        self._each(write_chunk, list(one.blocks(region)))

    def _fill_new_chunks(self) -> None:
        """Stores the chunks of codes and masks that are new and that nobody wrote."""
        for spec in self.spec.variables:
            if spec.dtype == "float32":
                continue
            array = self._variable(spec.name)
            data = array.encode_empty()
            new = [index for index in array.indices() if not self.chunks.in_live_grid(array, index)]
            keys = [key for key in map(array.key, new) if not self.overlay.exists(key)]
            self._each(partial(self.overlay.put, data=data), keys)

    def _write_metadata(self) -> None:
        now = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        attributes = {
            **self._attributes,
            "created_utc": self._live.get(".zattrs", {}).get("created_utc", now),
            "updated_utc": now,
            "run_id": self._run_id,
        }
        chunks = {variable: self._variable(variable).chunks for variable in self.variables}
        documents = render_metadata(self.spec, self.sizes, attributes, self._flags, chunks)
        data_keys = [key for key in self.overlay.staged_keys() if not key.rpartition("/")[2].startswith(".z")]
        if not data_keys and lasting(documents) == lasting(self._live):
            for key in self.overlay.staged_keys():
                self.overlay.drop_staged(key)
            return
        for key, document in documents.items():
            if key != ".zattrs":
                self.overlay.put(key, to_json(document))
        # Staged even when they are the live ones byte for byte: they say that the store was closed, and end a mark.
        self.overlay.stage(".zattrs", to_json(documents[".zattrs"]))
        self.overlay.stage(METADATA, to_json(consolidated(documents)))
        self._known = json.loads(json.dumps(documents))

    def _each(self, task: Callable[[Any], None], items: Sequence[Any]) -> None:
        if len(items) <= self.overlay.objects.few:
            for item in items:
                task(item)
            return
        for _ in self._executor.map(task, items):
            pass
