"""Asking a master: who was this ticker then, what did we know then, and why."""

from __future__ import annotations

import difflib
import json
import sqlite3
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from security_master import panels, schema
from security_master.build import read_configurations
from security_master.dates import BEGINNING, END, NEVER, date_text, dates_of, instant_text
from security_master.factor_etfs import FactorEtfs, make_factor_etfs
from security_master.names import canonical_ticker
from security_master.universe import RULES

Mode = Literal["regular", "any"]


class UnknownTicker(LookupError):
    """No security is known ever to have had the ticker. `nearest`: tickers that look like it."""

    def __init__(self, ticker: str, nearest: Sequence[str]) -> None:
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(f"no security is known to have had the ticker {ticker!r}{hint}")
        self.ticker, self.nearest = ticker, tuple(nearest)


class AmbiguousTicker(LookupError):
    """Several securities answer. `candidates`: their sec_ids."""

    def __init__(self, ticker: str, as_of: str, candidates: Sequence[str], detail: str) -> None:
        super().__init__(f"{ticker!r} on {as_of}: {', '.join(candidates)} ({detail})")
        self.ticker, self.as_of, self.candidates = ticker, as_of, tuple(candidates)


class UnknownSecurity(LookupError):
    """A sec_id that the master does not hold."""


class Universe(NamedTuple):
    """The members in force and the month end at which they were chosen."""

    mask_as_of: np.datetime64
    members: NDArray[np.object_]


class SecurityMaster:
    """A read-only master. Every answer that depends on knowledge takes `known_as_of`, an instant; None is all of it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def open(cls, path: Path | str) -> SecurityMaster:
        """Open a master. Raises FileNotFoundError, SchemaVersionError."""
        return cls(Path(path), schema.open_existing(Path(path)))

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> SecurityMaster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def build_id(self) -> str:
        """Hash of what this master says; the stores keep it."""
        return str(self._db.execute("SELECT value FROM meta WHERE key = 'build_id'").fetchone()[0])

    # -- for the pipeline -----------------------------------------------------------------------------------------

    def assign(self, vendor_codes: ArrayLike, dates: ArrayLike, *, ahead_days: int = 0) -> NDArray[np.object_]:
        """sec_id of the holder of each vendor code on each date, "" for none.

        vendor_codes: (n,) text or a pandas Categorical. dates: (n,) datetime64. ahead_days: a code whose next holder
        starts at most this many days after the date also counts (a successor starts the day after).
        """
        codes = vendor_codes if isinstance(vendor_codes, pd.Categorical) else pd.Categorical(_objects(vendor_codes))
        days = np.asarray(dates).astype("datetime64[D]")
        names = codes.categories.astype(object)
        owners = np.array(["", *self._sec_ids_of_listings], dtype=object)
        starts, ends, owner_rows = self._listing_columns
        position = codes.codes.astype(np.int64)
        known = self._listings_by_code
        most = max((len(known.get(name, ())) for name in names), default=0)
        answer = np.zeros(len(days), dtype=np.int64)
        for turn in range(most):
            row_of = np.array([rows[turn] if len(rows := known.get(name, ())) > turn else -1 for name in names] + [-1])
            row = row_of[position]
            held = (row >= 0) & (days >= starts[row] - np.timedelta64(ahead_days, "D")) & (days < ends[row])
            fresh = held & ((answer == 0) | (days >= starts[row]))
            answer[fresh] = owner_rows[row[fresh]] + 1
        return owners[answer]

    def roster(self, known_as_of: Any = None) -> pd.DataFrame:
        """One row for each security, ordered by (first_session, sec_id).

        sec_id, sec_type, currency, exchange, vendor_code, name of its last listing; first_session and last_session
        (datetime64[s], NaT while no end is known).
        """
        facts = self._facts("listing", known_as_of).sort_values(["sec_id", "valid_from"], kind="stable")
        first = facts.drop_duplicates("sec_id", keep="first").set_index("sec_id")["valid_from"]
        roster = facts.drop_duplicates("sec_id", keep="last").copy()
        starts = roster["sec_id"].map(first)
        roster["first_session"] = _seconds(dates_of([("" if day == BEGINNING else day) for day in starts]))
        ends = dates_of([("" if day == END else day) for day in roster["valid_to"]]) - np.timedelta64(1, "D")
        roster["last_session"] = _seconds(ends)
        roster = roster.assign(order=list(starts)).sort_values(["order", "sec_id"], ignore_index=True)
        text = ["sec_id", "sec_type", "currency", "exchange", "vendor_code", "name"]
        return roster[[*text, "first_session", "last_session"]].astype(dict.fromkeys(text, "str"))

    def labels(
        self, sec_ids: ArrayLike, as_of: Any, known_as_of: Any = None
    ) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """(ticker, unique_ticker) of each security at a date.

        ticker: the one at `as_of`, or the last one it had by then; "" before its first. unique_ticker: `X` for the
        holder of X at `as_of`, `X#N` for a security that had it before, N counting the securities that have had X from
        the oldest on, so that a label once given to a former holder stays.
        """
        day = date_text(as_of)
        spans = self._facts("ticker_map", known_as_of)
        spans = spans[spans["valid_from"] <= day].sort_values(["valid_from", "sec_id"], kind="stable")
        holders = spans.drop_duplicates(["ticker", "sec_id"])
        ordinal = dict(
            zip(
                zip(holders["ticker"], holders["sec_id"], strict=True),
                holders.groupby("ticker").cumcount() + 1,
                strict=True,
            )
        )
        last = spans.drop_duplicates("sec_id", keep="last").set_index("sec_id")["ticker"]
        now = spans[spans["valid_to"] > day].assign(rank=lambda f: f["trading_mode"].ne("regular"))
        now = now.sort_values(["rank", "valid_from", "sec_id"], kind="stable").drop_duplicates("ticker")
        holder = dict(zip(now["ticker"], now["sec_id"], strict=True))
        wanted = [str(s) for s in np.asarray(sec_ids, dtype=object)]
        tickers = [str(last.get(sec_id, "")) for sec_id in wanted]
        unique = [
            ticker if not ticker or holder.get(ticker) == sec_id else f"{ticker}#{ordinal[ticker, sec_id]}"
            for ticker, sec_id in zip(tickers, wanted, strict=True)
        ]
        return np.array(tickers, dtype=object), np.array(unique, dtype=object)

    def classification_panel(
        self, sec_ids: Sequence[str], sessions: ArrayLike, instants: ArrayLike
    ) -> NDArray[np.int16]:
        """(n, T) int16 fs_industry_code in force, 0 unclassified; see panels.classification_panel."""
        facts = self._table("classification_hist")
        return panels.classification_panel(facts[facts["scheme"] == "fs"], sec_ids, panels.grid(sessions, instants))

    def shares_panel(
        self, sec_ids: Sequence[str], sessions: ArrayLike, instants: ArrayLike, max_age_days: int
    ) -> NDArray[np.float64]:
        """(n, T) shares outstanding, NaN unknown or stale; see panels.shares_panel."""
        actions = self._table("corp_action")
        splits = actions[actions["type"] == "split"]
        on = panels.grid(sessions, instants)
        return panels.shares_panel(self._table("shares_hist"), splits, sec_ids, on, max_age_days)

    def factor_etfs(self, known_as_of: Any = None) -> FactorEtfs:
        """The factor ETFs of the taxonomy in force, with the security of type etf that holds each ticker."""
        version, taxonomy, etfs = read_configurations(self._db)[-1]
        listings = self._facts("listing", known_as_of)
        is_etf = set(listings.loc[listings["sec_type"] == "etf", "sec_id"])
        spans = self._facts("ticker_map", known_as_of)
        spans = spans[spans["sec_id"].isin(is_etf)].sort_values(["valid_from", "sec_id"], kind="stable")
        starts = dict(zip(etfs["etf"], etfs["first_session"], strict=True))
        sec_ids: dict[str, str] = {}
        for ticker, sec_id, end in zip(spans["ticker"], spans["sec_id"], spans["valid_to"], strict=True):
            if end > starts.get(ticker, ""):
                sec_ids.setdefault(ticker, sec_id)
        return make_factor_etfs(taxonomy, etfs, sec_ids, version)

    def taxonomy(self) -> pd.DataFrame:
        """The industries in force: fs_industry_code, industry, fs_sector_code, sector, sector_etf, subsector_etf."""
        return read_configurations(self._db)[-1][1].astype({"fs_industry_code": int, "fs_sector_code": int})

    # -- operations -----------------------------------------------------------------------------------------------

    def resolve(
        self,
        ticker: str,
        as_of: Any,
        *,
        known_as_of: Any = None,
        exchange: str | None = None,
        mode: Mode = "regular",
    ) -> str | None:
        """The security that had a ticker on a date, or None when nobody had it then.

        mode 'any' includes over-the-counter and when-issued lines. Raises AmbiguousTicker, and UnknownTicker when
        nobody is known ever to have had it.
        """
        name, day, known = canonical_ticker(ticker), date_text(as_of), _instant(known_as_of)
        rows = self._db.execute(
            "SELECT sec_id, market, trading_mode FROM ticker_map WHERE ticker = ? AND valid_from <= ? AND ? < valid_to "
            "AND known_from <= ? AND ? < known_to",
            (name, day, day, known, known),
        ).fetchall()
        rows = [row for row in rows if mode == "any" or row[2] == "regular"]
        if exchange is not None:
            rows = [row for row in rows if self._listed_on(row[0], exchange, day, known)]
        found = sorted({row[0] for row in rows})
        if len(found) == 1:
            return str(found[0])
        if found:
            raise AmbiguousTicker(name, day, found, "in several markets; name the exchange")
        contested = self._contested(name, day, known)
        if contested:
            raise AmbiguousTicker(name, day, contested, "claimed twice; see `erm3 security queue`")
        if not self._ever(name, known):
            raise UnknownTicker(name, self._nearest(name, known))
        return None

    def universe(
        self, name: str, as_of: Any, *, known_as_of: Any = None, rule_version: str | None = None
    ) -> Universe | None:
        """The members in force on a date: those of the last month end before the month of `as_of`. None before any."""
        month = np.datetime64(date_text(as_of), "M")
        before = [
            s for s in self.snapshots(name, known_as_of, rule_version) if s.mask_as_of.astype("datetime64[M]") < month
        ]
        return before[-1] if before else None

    def snapshots(self, name: str, known_as_of: Any = None, rule_version: str | None = None) -> list[Universe]:
        """Every recorded snapshot of a universe known by an instant, by date. rule_version: the rule of today if None."""
        version = rule_version if rule_version is not None else RULES[name].version
        rows = self._db.execute(
            "SELECT m.mask_as_of, m.sec_id FROM universe_snapshot s JOIN universe_membership m USING "
            "(universe, mask_as_of, rule_version) WHERE s.universe = ? AND s.rule_version = ? AND s.known_from <= ? "
            "AND m.status <> 'out' ORDER BY m.mask_as_of, m.sec_id",
            (name, version, _instant(known_as_of)),
        ).fetchall()
        members: dict[str, list[str]] = {}
        for day, sec_id in rows:
            members.setdefault(day, []).append(sec_id)
        return [Universe(np.datetime64(day, "D"), np.array(ids, dtype=object)) for day, ids in members.items()]

    def universe_counts(self, name: str, as_of: Any, valid: ArrayLike, *, known_as_of: Any = None) -> dict[str, int]:
        """Members in force, and how many of them are valid that day. valid: sec_ids with a valid price."""
        universe = self.universe(name, as_of, known_as_of=known_as_of)
        members = set(universe.members) if universe else set()
        active = len(members & set(np.asarray(valid, dtype=object).tolist()))
        return {"active": active, "in_universe_mask": len(members), "inactive_from_validity": len(members) - active}

    def _contested(self, ticker: str, day: str, known: str) -> list[str]:
        rows = self._db.execute(
            "SELECT candidates FROM resolution_queue WHERE question_id LIKE ? AND known_from <= ? "
            "AND ? < known_to AND json_extract(subject, '$.ticker') = ? AND json_extract(subject, '$.from') <= ? "
            "AND ? < json_extract(subject, '$.to')",
            ("ticker:%", known, known, ticker, day, day),
        ).fetchall()
        return sorted({candidate for row in rows for candidate in json.loads(row[0])})

    def _ever(self, ticker: str, known: str) -> bool:
        query = "SELECT 1 FROM ticker_map WHERE ticker = ? AND known_from <= ? AND ? < known_to LIMIT 1"
        return self._db.execute(query, (ticker, known, known)).fetchone() is not None

    def _nearest(self, ticker: str, known: str) -> list[str]:
        query = "SELECT DISTINCT ticker FROM ticker_map WHERE known_from <= ? AND ? < known_to ORDER BY ticker"
        names = [row[0] for row in self._db.execute(query, (known, known))]
        squeezed = {name.replace(".", ""): name for name in names}
        if ticker.replace(".", "") in squeezed:
            return [squeezed[ticker.replace(".", "")]]
        return difflib.get_close_matches(ticker, names, n=5, cutoff=0.5)

    def _listed_on(self, sec_id: str, exchange: str, day: str, known: str) -> bool:
        query = (
            "SELECT 1 FROM listing WHERE sec_id = ? AND exchange = ? AND valid_from <= ? AND ? < valid_to "
            "AND known_from <= ? AND ? < known_to"
        )
        return self._db.execute(query, (sec_id, exchange, day, day, known, known)).fetchone() is not None

    # -- tables in memory -----------------------------------------------------------------------------------------

    def _table(self, name: str) -> pd.DataFrame:
        if name not in self._tables:
            self._tables[name] = pd.read_sql_query(f"SELECT * FROM {name}", self._db).astype({"known_from": object})
        return self._tables[name]

    @cached_property
    def _tables(self) -> dict[str, pd.DataFrame]:
        return {}

    def _facts(self, name: str, known_as_of: Any) -> pd.DataFrame:
        """Rows of a fact table that were believed at an instant."""
        frame, known = self._table(name), _instant(known_as_of)
        return frame[(frame["known_from"] <= known) & (frame["known_to"] > known)]

    @cached_property
    def _listing_columns(self) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64], NDArray[np.int64]]:
        facts = self._newest_listings
        owner = pd.Index(self._sec_ids_of_listings).get_indexer(facts["sec_id"])
        return dates_of(facts["valid_from"]), dates_of(facts["valid_to"]), owner

    @cached_property
    def _newest_listings(self) -> pd.DataFrame:
        return self._facts("listing", None).sort_values(["vendor_code", "valid_from"], kind="stable", ignore_index=True)

    @cached_property
    def _sec_ids_of_listings(self) -> list[str]:
        return sorted(set(self._newest_listings["sec_id"]))

    @cached_property
    def _listings_by_code(self) -> dict[str, list[int]]:
        return {str(code): list(rows) for code, rows in self._newest_listings.groupby("vendor_code").indices.items()}


def _instant(known_as_of: Any) -> str:
    """ISO text of an instant. None is the end of time but one, at which everything still believed is believed."""
    return NEWEST if known_as_of is None else instant_text(known_as_of)


NEWEST = "9999-12-30T00:00:00.000000Z"
assert NEWEST < NEVER


def _objects(values: ArrayLike) -> NDArray[np.object_]:
    return np.asarray(values, dtype=object)


def _seconds(days: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    return days.astype("datetime64[s]")
