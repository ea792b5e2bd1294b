"""What a publication may never do to a store, decided on the staged and live objects themselves.

* structure: arrays, dimensions, dtypes, chunks, units, codes and parameters are as published;
* retraction: no axis gets shorter, and what stood on it stays where it was;
* sessions: `teo` holds consecutive exchange sessions;
* history: no cell of a published session changes, bit for bit, but in the range of a declared restatement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.store.chunks import ChunkedArray, same
from pipeline.store.layout import METADATA
from pipeline.store.objects import StoreError
from pipeline.store.overlay import Overlay
from pipeline.store.structure import VOLATILE_ATTRIBUTES

CHANGING_COORDINATES = ("ticker", "unique_ticker")
CODED_ATTRIBUTES = ("flag_values", "flag_meanings")
MOST_CELLS = 5


@dataclass(frozen=True)
class Violation:
    """One guard that does not hold, with the first few cells that show it."""

    guard: str
    store: str
    problem: str

    def __str__(self) -> str:
        return f"{self.store}: {self.guard}: {self.problem}"


class GuardFailed(StoreError):
    """Publishing would break a promise made to readers."""

    def __init__(self, violations: list[Violation], staged_in: str) -> None:
        self.violations = violations
        lines = "\n  ".join(map(str, violations))
        super().__init__(f"nothing was published; the staged data is in {staged_in}:\n  {lines}")


def check_store(
    name: str,
    overlay: Overlay,
    sessions: NDArray[np.datetime64],
    restated: tuple[str, str] | None,
) -> list[Violation]:
    """Checks one staged store. `sessions`: the exchange's calendar; `restated`: first and last session, if declared."""
    return _StoreGuards(name, overlay, sessions, restated).run()


class _StoreGuards:
    def __init__(
        self,
        name: str,
        overlay: Overlay,
        sessions: NDArray[np.datetime64],
        restated: tuple[str, str] | None,
    ) -> None:
        self.name = name
        self.overlay = overlay
        self.sessions = sessions.astype("datetime64[D]")
        self.restated = restated
        self.found: list[Violation] = []

    def run(self) -> list[Violation]:
        staged, live = self.overlay.get_staged(METADATA), self.overlay.get_live(METADATA)
        if staged is None:
            self.fail("structure", "staged chunks without metadata: the store was not closed")
            return self.found
        self.new: dict[str, Any] = json.loads(staged)["metadata"]
        self.old: dict[str, Any] = json.loads(live)["metadata"] if live else {}
        self.check_consolidated()
        self.check_structure()
        if not self.found:
            self.check_axes()
        if not self.found:
            self.check_history()
        return self.found

    def fail(self, guard: str, problem: str) -> None:
        self.found.append(Violation(guard, self.name, problem))

    def arrays(self, metadata: Mapping[str, Any]) -> dict[str, ChunkedArray]:
        names = [key.removesuffix("/.zarray") for key in metadata if key.endswith("/.zarray")]
        return {name: ChunkedArray.stored(name, metadata) for name in sorted(names)}

    def check_consolidated(self) -> None:
        singles = dict(zip(self.new, self.overlay.objects.map(self.overlay.get, self.new), strict=True))
        for key, single in singles.items():
            if single is None or json.loads(single) != self.new[key]:
                self.fail("structure", f"{METADATA} and {key} differ")

    def check_structure(self) -> None:
        if not self.old:
            return
        for key in sorted(set(self.old) ^ set(self.new)):
            where = "published" if key in self.old else "staged"
            self.fail("structure", f"{key} is only in the {where} store")
        for key in sorted(set(self.old) & set(self.new)):
            old, new = dict(self.old[key]), dict(self.new[key])
            if key == ".zattrs":
                if self.restates_everything():
                    continue
                for attribute in VOLATILE_ATTRIBUTES:
                    old.pop(attribute, None)
                    new.pop(attribute, None)
                new = {attribute: new[attribute] for attribute in new if attribute in old}  # a new version says more
            elif key.endswith("/.zarray"):
                old.pop("shape")
                new.pop("shape")
            elif "flag_values" in old:
                for attribute in CODED_ATTRIBUTES:
                    self.check_prefix(key, attribute, old.pop(attribute), new.pop(attribute, ()))
            for attribute in sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k)):
                self.fail(
                    "structure",
                    f"{attribute} of {key} was {old.get(attribute)!r} and would be {new.get(attribute)!r}"
                    + ("; a parameter changes only with a restatement of all sessions" if key == ".zattrs" else ""),
                )

    def check_prefix(self, key: str, attribute: str, old: Any, new: Any) -> None:
        old, new = (value.split() if isinstance(value, str) else list(value) for value in (old, new))
        if new[: len(old)] != old:
            self.fail("structure", f"{attribute} of {key} no longer starts with the published codes")

    def restates_everything(self) -> bool:
        if self.restated is None:
            return False
        old = self.live_coordinate("teo")
        return not len(old) or bool(self.restated_rows(old).all())

    def restated_rows(self, teo: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self.restated is None:
            return np.zeros(len(teo), bool)
        days = teo.astype("datetime64[D]")
        return (days >= np.datetime64(self.restated[0], "D")) & (days <= np.datetime64(self.restated[1], "D"))

    def coordinate(self, name: str, metadata: Mapping[str, Any], live: bool) -> NDArray:
        array = ChunkedArray.stored(name, metadata)
        values = array.empty(array.shape)
        for index, inside, outside in array.blocks(array.whole()):
            get = self.overlay.get_live if live else self.overlay.get
            values[outside] = array.decode(get(array.key(index)) or b"")[inside]
        return values

    def live_coordinate(self, name: str) -> NDArray:
        return self.coordinate(name, self.old, live=True)

    def check_axes(self) -> None:
        arrays = self.arrays(self.new)
        coordinates = {
            name: self.coordinate(name, self.new, live=False) for name, a in arrays.items() if len(a.dims) == 1
        }
        sizes = {name: len(values) for name, values in coordinates.items() if arrays[name].dims == (name,)}
        for name, array in arrays.items():
            if array.shape != tuple(sizes[dim] for dim in array.dims):
                self.fail("structure", f"{name} has shape {array.shape}, its axes {[sizes[d] for d in array.dims]}")
        for name, values in coordinates.items():
            if not self.old or name in CHANGING_COORDINATES:
                continue
            old = self.live_coordinate(name)
            if len(values) < len(old):
                self.fail("retraction", f"{name} has {len(old)} values and would have {len(values)}")
            elif not np.array_equal(values[: len(old)], old):
                k = int(np.flatnonzero(values[: len(old)] != old)[0])
                self.fail("retraction", f"value {k} of {name} was {old[k]!r} and would be {values[k]!r}")
        self.check_sessions(coordinates["teo"].astype("datetime64[D]"))

    def check_sessions(self, teo: NDArray[np.datetime64]) -> None:
        if not len(teo):
            return
        expected = self.sessions[(self.sessions >= teo[0]) & (self.sessions <= teo[-1])]
        if np.array_equal(expected, teo):
            return
        if (np.diff(teo) <= np.timedelta64(0, "D")).any():
            self.fail("sessions", "teo does not increase")
        for what, days in (("skips", np.setdiff1d(expected, teo)), ("has closed days", np.setdiff1d(teo, expected))):
            if len(days):
                self.fail("sessions", f"teo {what}: {', '.join(map(str, days[:MOST_CELLS]))} ({len(days)} in all)")

    def check_history(self) -> None:
        arrays = self.arrays(self.new)
        jobs: list[tuple[ChunkedArray, str]] = []
        for key in self.overlay.staged_keys():
            name, _, tail = key.partition("/")
            if tail.startswith(".z") or key.startswith(".z"):
                continue
            array = arrays.get(name)
            if array is None or not self.in_grid(array, tail):
                self.fail("structure", f"the staged object {key} belongs to no chunk of the store")
            elif len(array.dims) > 1:
                jobs.append((array, tail))
        if not self.old:
            return
        self.teo = self.live_coordinate("teo")
        for problem in self.overlay.objects.map(lambda job: self.compared(*job), jobs):
            if problem:
                self.fail("history", problem)

    def compared(self, array: ChunkedArray, tail: str) -> str | None:
        try:
            return self.changed_cells(array, tail)
        except (ValueError, RuntimeError) as error:
            return f"{array.name}/{tail} cannot be read: {error}"

    def in_grid(self, array: ChunkedArray, tail: str) -> bool:
        index = tail.split(".")
        return len(index) == len(array.grid) and all(
            part.isdigit() and int(part) < n for part, n in zip(index, array.grid, strict=True)
        )

    def changed_cells(self, array: ChunkedArray, tail: str) -> str | None:
        """Compares one staged chunk with the published one, over all columns of the published, not restated rows."""
        index = tuple(map(int, tail.split(".")))
        start = index[0] * array.chunks[0]
        fixed = ~self.restated_rows(self.teo[start : start + array.chunks[0]])
        if not fixed.any():
            return None
        old_bytes = self.overlay.get_live(f"{array.name}/{tail}")
        new_bytes = self.overlay.get_staged(f"{array.name}/{tail}") or b""
        rows = slice(0, array.chunks[0]) if old_bytes is None else array.unlike_rows(old_bytes, new_bytes)
        rows, start = slice(rows.start, min(rows.stop, len(fixed))), start + rows.start
        if rows.start >= rows.stop:
            return None
        fixed, new = fixed[rows], array.decode_rows(new_bytes, rows)
        old = array.empty()[rows] if old_bytes is None else array.decode_rows(old_bytes, rows)
        changed = ~same(old, new)
        changed[~fixed] = False
        if not changed.any():
            return None
        cells = []
        for place in np.argwhere(changed)[:MOST_CELLS]:
            at = tuple(int(k) for k in place)
            day = self.teo[start + at[0]].astype("datetime64[D]")
            others = ", ".join(
                f"{dim} {k * chunk + i}"
                for dim, k, chunk, i in zip(array.dims[1:], index[1:], array.chunks[1:], at[1:], strict=True)
            )
            cells.append(f"{day} at {others}: {old[at]} -> {new[at]}")
        return (
            f"{int(changed.sum())} published cells of {array.name} would change ({'; '.join(cells)}). "
            "Declare a restatement of these sessions, or find out why they differ"
        )
