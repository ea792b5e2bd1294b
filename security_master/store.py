"""Reading an existing master: fact tables in memory, and what was believed of them at an instant."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from security_master import schema
from security_master.dates import NEVER, instant_text

if TYPE_CHECKING:
    import pandas as pd

NEWEST = "9999-12-30T00:00:00.000000Z"
"""An instant at which everything that is still believed is believed."""
assert NEWEST < NEVER

BELIEVED = "known_from <= :known AND :known < known_to"
"""SQL condition on the rows believed at the instant bound to `:known`."""


def instant_or_newest(known_as_of: Any) -> str:
    """ISO text of an instant; None means everything that the master knows."""
    return NEWEST if known_as_of is None else instant_text(known_as_of)


Made = TypeVar("Made")


class Store:
    """An open master. Tables are read once, when they are first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db: sqlite3.Connection = schema.open_existing(path)
        self._tables: dict[str, pd.DataFrame] = {}
        self._made: dict[str, Any] = {}
        self._contested: list[tuple[str, str, str, str]] | None = None

    def close(self) -> None:
        self.db.close()
        self._tables, self._made = {}, {}

    def share(self, other: Store) -> None:
        """Have the tables in common with the store of another file in which the facts are the same."""
        self._tables, self._made = other._tables, other._made

    def made(self, name: str, make: Callable[[], Made]) -> Made:
        """What `make` makes of the fact tables, made once. Not to be changed by who gets it."""
        if name not in self._made:
            self._made[name] = make()
        found: Made = self._made[name]
        return found

    def meta(self, key: str) -> str:
        return str(self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])

    def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        return self.db.execute(query, values).fetchall()

    def contested(self, known: str) -> list[tuple[str, str]]:
        """(subject, candidates) of the tickers in dispute at an instant, as json."""
        if self._contested is None:
            self._contested = self.db.execute(
                "SELECT subject, candidates, known_from, known_to FROM resolution_queue "
                "WHERE kind = 'ticker_claimed_twice' ORDER BY question_id, known_from"
            ).fetchall()
        return [
            (subject, candidates) for subject, candidates, since, until in self._contested if since <= known < until
        ]

    def table(self, name: str) -> pd.DataFrame:
        """All rows of a fact table, with every belief that there has been."""
        if name not in self._tables:
            self._tables[name] = self._frame(name)
        return self._tables[name]

    def columns(self, name: str, *columns: str, where: str = "", values: Sequence[str] = ()) -> pd.DataFrame:
        """Some columns of a fact table, with every belief that there has been; read anew each time.

        where: SQL after the table's name, for a part of its rows, with the `values` of its marks.
        """
        from security_master.frames import read_frame

        return read_frame(self.db, name, columns, where, *values)

    def believed(self, name: str, known_as_of: Any) -> pd.DataFrame:
        """Rows of a fact table as believed at an instant."""
        known = instant_or_newest(known_as_of)
        if name in self._tables:
            frame = self._tables[name]
            return frame[((frame["known_from"] <= known) & (frame["known_to"] > known)).to_numpy()]
        return self._frame(name, "WHERE known_from <= ? AND ? < known_to", known, known)

    def of_security(self, name: str, sec_id: str, known_as_of: Any) -> pd.DataFrame:
        """Rows of one security, with all columns, as believed at an instant."""
        known = instant_or_newest(known_as_of)
        where = "WHERE sec_id = ? AND known_from <= ? AND ? < known_to"
        return self._frame(name, where, sec_id, known, known, leave_out=())

    def _frame(
        self, name: str, where: str = "", *values: str, leave_out: Sequence[str] = ("row_id", "source")
    ) -> pd.DataFrame:
        from security_master.frames import read_frame  # pandas, which the answer to one ticker does not need

        columns = [column for column in schema.column_types(name) if column not in leave_out]
        return read_frame(self.db, name, columns, where, *values)
