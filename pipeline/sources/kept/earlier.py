"""The bars of a delivery before those that a night reads: what is known of each code, and its bars where asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.sources.kept.file import ROW, VALUES, KeptFile, Rows, Unbelieved


@dataclass(eq=False)
class Group:
    """Kept bars, and how to make them again where they turn out to be damaged."""

    file: KeptFile
    make: Callable[[], KeptFile]

    def read(self, runs: NDArray[np.bool_]) -> Rows:
        """The bars of some of the file's runs."""
        try:
            return self.file.read(self.file.runs[runs])
        except Unbelieved:
            self.file.path.unlink(missing_ok=True)
            self.file = self.make()
            return self.file.read(self.file.runs[runs])


@dataclass(frozen=True, eq=False)
class EarlierBars:
    """The bars before the quarter `since` (since 1970). groups: kept bars; none has a date of another."""

    since: int
    groups: tuple[Group, ...]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """By vendor code (sorted): rows; first, last (datetime64[s]): dates; known: the latest known_from; delay: the
        longest time from the close of a bar's session until it was known; odd: whether a bar is of no session, or was
        known before its close."""
        parts = [pd.DataFrame({"vendor_code": pd.Series(dtype="str")}).assign(**_NOTHING)]
        for group in self.groups:
            runs = group.file.runs[self._before(group)]
            parts.append(pd.DataFrame({"vendor_code": group.file.codes[runs["code"]].astype(object)} | _columns(runs)))
        both = pd.concat(parts[1:] or parts, ignore_index=True).groupby("vendor_code", sort=True)
        found = both.agg(
            rows=("rows", "sum"),
            first=("first", "min"),
            last=("last", "max"),
            known=("known", "max"),
            delay=("delay", "max"),
            odd=("odd", "any"),
        )
        for name in ("first", "last"):
            found[name] = found[name].to_numpy("datetime64[D]").astype("datetime64[s]")
        return found.assign(
            known=found["known"].to_numpy("datetime64[us]"), delay=found["delay"].to_numpy("timedelta64[us]")
        )

    @property
    def has(self) -> frozenset[str]:
        """The columns in which any bar, earlier or not, has a value."""
        return frozenset(name for k, name in enumerate(VALUES) if any(group.file.has[k] for group in self.groups))

    def of(self, codes: Collection[str], listed: NDArray[np.object_]) -> pd.DataFrame:
        """The bars of some codes, by code, date and known_from. listed: all codes, sorted: the categories."""
        parts, wanted = [], _texts(codes)
        for group in self.groups:
            asked = _among(group.file.codes, wanted)
            parts.append((group.file.codes, group.read(self._before(group) & asked[group.file.runs["code"]])))
        return frame_of(parts, listed)

    def firsts(self, codes: Collection[str], listed: NDArray[np.object_]) -> pd.DataFrame:
        """The first bar of each of some codes, as `of`."""
        names, days = _texts(self.summary.index), self.summary["first"].to_numpy("datetime64[D]").astype(np.int64)
        parts, wanted = [], _texts(codes)
        for group in self.groups:
            own, rows = group.file.codes, group.file.firsts
            begins = np.full(len(own), _NEVER)
            at, there = _found(own, names)
            begins[at[there]] = days[there]
            begun = begins[rows["code"]] == rows["date"]
            parts.append((own, rows[begun & _among(own, wanted)[rows["code"]]]))
        return frame_of(parts, listed)

    def closes_by_year(
        self, until: np.datetime64, instant: np.datetime64, listed: NDArray[np.object_]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """code (its place in `listed`), year, bars with a close and the sum of their `close_digests`, of what was known
        at an instant, several rows of one code and year; and the bars that must be looked at one by one, since not all
        of a code and quarter were, or lie before `until`."""
        sums, rows, place = [], [], {code: k for k, code in enumerate(listed.tolist())}
        for group in self.groups:
            before, runs = self._before(group), group.file.runs
            known = (runs["known"] <= instant.astype("datetime64[us]").astype(np.int64)) & (
                runs["last"] <= until.astype("datetime64[D]").astype(np.int64)
            )
            own = runs[before & known]
            sums.append(
                pd.DataFrame(
                    {
                        "code": _places(place, group.file.codes, own["code"]),
                        "year": own["quarter"] // 4 + 1970,
                        "bars": own["closes"],
                        "digest": own["digest"],
                    }
                )[own["closes"] > 0]
            )
            rows.append((group.file.codes, group.read(before & ~known)))
        return pd.concat(sums, ignore_index=True), frame_of(rows, listed)

    def recent(self) -> list[tuple[NDArray[np.str_], Rows]]:
        """The other bars, with the codes of each group."""
        return [(group.file.codes, group.read(~self._before(group))) for group in self.groups]

    def _before(self, group: Group) -> NDArray[np.bool_]:
        return np.asarray(group.file.runs["quarter"] < self.since)


def _texts(codes: Collection[str]) -> NDArray[np.str_]:
    return np.array([*codes], np.str_)


def _among(names: NDArray[np.str_], wanted: NDArray[np.str_]) -> NDArray[np.bool_]:
    """(n,) whether each name, sorted, is one of some codes."""
    among = np.zeros(len(names), bool)
    at, there = _found(names, wanted)
    among[at[there]] = True
    return among


def _found(names: NDArray[np.str_], wanted: NDArray[np.str_]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each wanted name stands among sorted ones, and whether it is there."""
    at = np.minimum(np.searchsorted(names, wanted), max(len(names) - 1, 0))
    return at, names[at] == wanted


_NEVER = np.iinfo(np.int64).min
_NOTHING = {"rows": 0, "first": 0, "last": 0, "known": 0, "delay": 0, "odd": False}


def _columns(runs: Rows) -> dict[str, NDArray]:
    return {name: runs[name] for name in _NOTHING}


def frame_of(parts: list[tuple[NDArray[np.str_], Rows]], listed: NDArray[np.object_]) -> pd.DataFrame:
    """Bars of several groups as a typed table has them, by code, date and known_from."""
    place = {code: k for k, code in enumerate(listed.tolist())}
    parts = [(codes, own) for codes, own in parts if len(own)]
    rows: Rows = np.concatenate([np.empty(0, ROW), *(own for _, own in parts)])
    code = np.concatenate([np.empty(0, np.int32), *(_places(place, codes, own["code"]) for codes, own in parts)])
    order = np.lexsort((rows["known_from"], rows["date"], code))
    rows, code = rows[order], code[order]
    return pd.DataFrame(
        {
            "vendor_code": pd.Categorical.from_codes(code, categories=pd.Index(listed, dtype="str")),
            "date": rows["date"].astype("datetime64[D]").astype("datetime64[s]"),
            **{name: np.ascontiguousarray(rows[name]) for name in VALUES},
            "known_from": rows["known_from"].astype("datetime64[us]"),
            "known_assumed": np.ascontiguousarray(rows["known_assumed"]),
        },
        copy=False,
    )


def _places(place: dict[str, int], codes: NDArray[np.str_], of: NDArray[np.int32]) -> NDArray[np.int32]:
    """Places of the codes of some rows, -1 for one that is not listed."""
    used = np.unique(of)
    found = np.full(len(codes), -1, np.int32)
    found[used] = [place.get(name, -1) for name in codes[used].tolist()]
    return found[of]
