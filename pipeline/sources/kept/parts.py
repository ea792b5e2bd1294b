"""Delivered Parquet files of prices as kept bars: made once for each content, and looked up from then on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.outside.caches import forget_other_code
from pipeline.outside.code import code_digest
from pipeline.sources.cells import Codes, Place
from pipeline.sources.checks import versions
from pipeline.sources.kept.earlier import EarlierBars, Group, frame_of
from pipeline.sources.kept.file import ROW, VALUES, KeptFile, Unbelieved, open_kept, quarter_of, write
from pipeline.sources.knowledge import default_known_from
from pipeline.sources.specs import TABLES
from pipeline.sources.typed import RawTable, TypedTable, type_table

PRICES = "prices"

Parse = Callable[[Mapping[str, bytes]], RawTable]
"""Contents of Parquet files, by name, as one raw table."""


class NotKept(Exception):
    """Bars that are read whole, for a reason that is no error."""


@dataclass(frozen=True, eq=False)
class KeptPrices:
    """The prices of a delivery. table: typed, with the bars from a day on; earlier: those before.

    codes: the vendor codes of all of them; rows: how many there are; parsed: how many of them were parsed for it.
    """

    table: TypedTable
    earlier: EarlierBars
    codes: frozenset[str]
    rows: int
    parsed: int


@cache
def code_version() -> str:
    """Names what types and checks bars: its sources, and the libraries that it is made of."""
    folder = Path(__file__).parents[1]
    places = [*sorted(folder.glob("*.py")), Path(__file__).parent, folder.parent / "calendar.py"]
    return code_digest(*places, libraries=("numpy", "pandas", "pyarrow", "exchange_calendars"))


def kept_prices(place: Path, parts: Sequence[Path], file: str, since: np.datetime64, parse: Parse) -> KeptPrices:
    """The bars of `parts` (the Parquet files of the table called `file`), those before `since` only where asked for.

    place: directory of what is kept. Raises NotKept and SourceError; then everything is read, as if nothing was kept.
    """
    if not parts:
        raise NotKept("no file")
    try:
        whole, digests = _digests(parts)
    except OSError as error:
        raise NotKept(str(error)) from error
    made: dict[str, int] = {}
    groups = [
        _group(place, {parts[k]: digests[k] for k in own}, partial(_parsed, parse, made)) for own in _apart(parts)
    ]
    _forget(place, {group.file.path for group in groups})
    earlier = EarlierBars(int(quarter_of(since)), tuple(groups))
    codes = sorted({code for group in groups for code in group.file.codes.tolist()})
    frame = frame_of(earlier.recent(), np.array(codes, object))
    coded = {"vendor_code": Codes(frame["vendor_code"].cat.codes.to_numpy().astype(np.int32), codes)}
    rows = sum(int(group.file.runs["rows"].sum()) for group in groups)
    table = TypedTable(TABLES[PRICES], frame, coded, Place(file, 1), whole)
    return KeptPrices(table, earlier, frozenset(codes), rows, sum(made.values()))


def _digests(parts: Sequence[Path]) -> tuple[str, list[str]]:
    """SHA-256 of the contents one after the other, and of each."""
    whole, each = hashlib.sha256(), []
    room = memoryview(bytearray(1 << 18))  # what is hashed twice is in the processor's cache the second time
    for part in parts:
        own = hashlib.sha256()
        with part.open("rb", buffering=0) as file:
            while read := file.readinto(room):
                whole.update(room[:read])
                own.update(room[:read])
        each.append(own.hexdigest())
    return whole.hexdigest(), each


def _apart(parts: Sequence[Path]) -> list[list[int]]:
    """The parts (positions) by stretches of dates that do not overlap: a bar is told in one group only."""
    spans, schemas = zip(*(_dates(part) for part in parts), strict=True)
    if any(schema != schemas[0] for schema in schemas):
        raise NotKept("the parts have different columns")
    groups: list[list[int]] = []
    reached = ""
    for k in sorted(range(len(parts)), key=lambda k: spans[k]):
        first, last = spans[k]
        if groups and first <= reached:
            groups[-1].append(k)
        else:
            groups.append([k])
        reached = max(reached, last)
    return [sorted(group) for group in groups]


def _dates(part: Path) -> tuple[tuple[str, str], pa.Schema]:
    """First and last date of a file, from its statistics where it has them, and its columns. Raises NotKept."""
    try:
        with pq.ParquetFile(part) as file:
            schema = file.schema_arrow
            names = [name.strip().lower() for name in schema.names]
            if names.count("date") != 1:
                raise NotKept(f"{part.name} has no date")
            at = names.index("date")
            meta = file.metadata
            told = [meta.row_group(k).column(at).statistics for k in range(meta.num_row_groups)]
            if not all(one is not None and one.has_min_max for one in told) or not told:
                column = file.read([schema.names[at]]).column(0)
                found = pc.min_max(column).as_py()
                ends = [str(found["min"])[:10], str(found["max"])[:10]]
            else:
                ends = [min(str(one.min)[:10] for one in told), max(str(one.max)[:10] for one in told)]
    except (pa.ArrowException, OSError, IndexError) as error:
        raise NotKept(str(error)) from error
    return (ends[0], ends[1]), schema


def _group(place: Path, parts: dict[Path, str], parsed: Callable[[dict[Path, str], str], _Bars]) -> Group:
    """The kept bars of some parts (with their digests), which are made now where they are not there."""
    key = hashlib.sha256("\n".join([code_version(), *parts.values()]).encode()).hexdigest()
    path = place / "kept" / code_version() / f"{key}.bars"

    def make() -> KeptFile:
        try:
            write(path, key, *parsed(parts, key))
        except OSError as error:
            raise NotKept(str(error)) from error
        return open_kept(path, key)

    try:
        return Group(open_kept(path, key), make)
    except Unbelieved:
        return Group(make(), make)


class _Bars(NamedTuple):
    """What `file.write` keeps."""

    codes: list[str]
    rows: NDArray[np.void]
    delay: NDArray[np.int64]
    odd: NDArray[np.bool_]


def _parsed(parse: Parse, made: dict[str, int], parts: dict[Path, str], key: str) -> _Bars:
    """The bars of some parts. Raises NotKept, and SourceError for what is wrong with them."""
    contents = {part.name: part.read_bytes() for part in parts}
    for content, digest in zip(contents.values(), parts.values(), strict=True):
        if hashlib.sha256(content).hexdigest() != digest:
            raise NotKept("a file was changed while it was read")
    codes, rows = _rows(type_table(parse(contents)))
    made[key] = len(rows)
    days, calendar = rows["date"].astype("datetime64[D]"), xnys()
    session = np.minimum(calendar.on_or_after(days), len(calendar.sessions) - 1)
    delay = rows["known_from"] - calendar.closes[session].astype(np.int64)
    return _Bars(codes, rows, delay, (delay < 0) | ~calendar.is_session(days))


def _rows(typed: TypedTable) -> tuple[list[str], NDArray[np.void]]:
    """The vendor codes and the bars of a typed table, in the order of a kept file."""
    frame = typed.frame
    assumed = frame["known_assumed"].to_numpy()
    if assumed.any():
        default = default_known_from(PRICES, frame)
        frame["known_from"] = default if assumed.all() else frame["known_from"].where(~assumed, default)
    order, repeated = versions(typed)
    if len(repeated) or not len(order):
        raise NotKept("bars that are told twice, or none")
    rows = np.empty(len(frame), ROW)
    rows["code"] = frame["vendor_code"].cat.codes.to_numpy()
    rows["date"] = frame["date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    rows["known_from"] = frame["known_from"].to_numpy().astype("datetime64[us]").astype(np.int64)
    rows["known_assumed"] = assumed
    for name in VALUES:
        rows[name] = frame[name].to_numpy()
    rows = rows[order]  # by code, date and known_from
    rows = rows[np.argsort(quarter_of(rows["date"].astype("datetime64[D]")), kind="stable")]
    used, rows["code"] = np.unique(rows["code"], return_inverse=True)
    return frame["vendor_code"].cat.categories[used].tolist(), rows


def _forget(place: Path, used: set[Path]) -> None:
    """Remove what this delivery does not hold any more, and what is of other code."""
    folder = place / "kept"
    forget_other_code(folder, code_version())
    for path in (folder / code_version()).glob("*"):
        if path not in used:
            path.unlink(missing_ok=True)
