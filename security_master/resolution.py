"""From a ticker and a date to a security: one at a time through SQL, many at once through an interval join."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from security_master.dates import date_text
from security_master.intervals import Holders
from security_master.names import canonical_ticker
from security_master.store import BELIEVED, Store, instant_or_newest

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
        super().__init__(f"{ticker!r} on {as_of} may be {' or '.join(candidates)}: {detail}")
        self.ticker, self.as_of, self.candidates = ticker, as_of, tuple(candidates)


class Contest(NamedTuple):
    """A stretch of dates in which several securities claim one ticker, and none has it."""

    ticker: str
    start: str
    end: str
    candidates: tuple[str, ...]


class TickerIndex:
    """Tickers as believed at an instant, for many questions at once; read when they are first asked for."""

    def __init__(self, store: Store, known: str) -> None:
        self.known = known
        self._store = store
        self._rows: dict[str, list[tuple[str, ...]]] = {}

    def rows(self, tickers: Collection[str]) -> list[tuple[str, ...]]:
        """(market, trading mode, ticker, sec_id, valid_from, valid_to) of each holder that a ticker ever had."""
        new: dict[str, list[tuple[str, ...]]] = {ticker: [] for ticker in tickers if ticker not in self._rows}
        for row in self._store.rows(
            "SELECT market, trading_mode, ticker, sec_id, valid_from, valid_to FROM ticker_map "
            f"WHERE ticker IN (SELECT value FROM json_each(:tickers)) AND {BELIEVED}",
            tickers=json.dumps(list(new)),
            known=self.known,
        ):
            new[row[2]].append(row)
        self._rows |= new
        return [row for ticker in tickers for row in self._rows[ticker]]


def _by_market(rows: Sequence[tuple[str, ...]], mode: Mode) -> list[Holders]:
    """Who holds each ticker, one element for each market; within one nobody overlaps."""
    markets: dict[str, list[tuple[str, ...]]] = {}
    for row in rows:
        if mode == "any" or row[1] == "regular":
            markets.setdefault(row[0], []).append(row[2:])
    return [Holders(*map(list, zip(*markets[market], strict=True))) for market in sorted(markets)]


def resolve(store: Store, ticker: str, as_of: Any, known_as_of: Any, exchange: str | None, mode: Mode) -> str | None:
    """See SecurityMaster.resolve."""
    name, day, known = canonical_ticker(ticker), date_text(as_of), instant_or_newest(known_as_of)
    rows = store.db.execute(
        "SELECT sec_id, trading_mode, valid_from, valid_to FROM ticker_map WHERE ticker = ? AND known_from <= ? "
        "AND ? < known_to",
        (name, known, known),
    ).fetchall()
    found = sorted({row[0] for row in rows if row[2] <= day < row[3] and (mode == "any" or row[1] == "regular")})
    if exchange is not None:
        found = [sec_id for sec_id in found if _listed_on(store, sec_id, exchange, day, known)]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise AmbiguousTicker(name, day, found, "it is a ticker of several markets; name the exchange")
    for contest in contests(store, known):
        if contest.ticker == name and contest.start <= day < contest.end:
            raise AmbiguousTicker(name, day, contest.candidates, "both claim it; see `erm3 security queue`")
    if not rows:
        raise UnknownTicker(name, nearest_tickers(store, name, known))
    return None


def resolve_many(store: Store, index: TickerIndex, tickers: Sequence[str], dates: Any, mode: Mode) -> pd.DataFrame:
    """sec_id and status of each (ticker, date) pair; see SecurityMaster.resolve_many."""
    place: dict[str, int] = {}
    codes = [place.setdefault(canonical_ticker(ticker), len(place)) for ticker in tickers]
    names = pd.Categorical.from_codes(codes, pd.Index(list(place), dtype=object))
    days = np.asarray(dates).astype("datetime64[D]")
    rows = index.rows(place)
    known = {row[2] for row in rows}
    ever = np.array([name in known for name in place] + [False])[names.codes]
    answer = np.full(len(names), "", dtype=object)
    times = np.zeros(len(names), dtype=np.int64)
    for market in _by_market(rows, mode):
        holder = market.find(names, days)
        times += (holder != "") & (holder != answer)
        answer = np.where(holder != "", holder, answer)
    status = np.select([~ever, times == 1, times > 1], ["unknown", "ok", "ambiguous"], "none").astype(object)
    for contest in contests(store, index.known):
        within = (days >= np.datetime64(contest.start)) & (days < np.datetime64(contest.end))
        status[within & (names == contest.ticker) & (times == 0)] = "ambiguous"
    answer[status != "ok"] = ""
    return pd.DataFrame({"sec_id": answer, "status": status})


def contests(store: Store, known: str) -> list[Contest]:
    """Tickers that several securities claim at once, as known at an instant."""
    found = []
    for subject, candidates in store.contested(known):
        what = json.loads(subject)
        found.append(Contest(what["ticker"], what["from"], what["to"], tuple(json.loads(candidates))))
    return found


def nearest_tickers(store: Store, ticker: str, known: str) -> list[str]:
    """Known tickers that look like `ticker`: the same without separators, else the closest spellings."""
    names = [
        row[0] for row in store.rows(f"SELECT DISTINCT ticker FROM ticker_map WHERE {BELIEVED} ORDER BY 1", known=known)
    ]
    same = [name for name in names if name.replace(".", "") == ticker.replace(".", "")]
    return same or difflib.get_close_matches(ticker, names, n=5, cutoff=0.5)


def _listed_on(store: Store, sec_id: str, exchange: str, day: str, known: str) -> bool:
    query = (
        f"SELECT 1 FROM listing WHERE sec_id = :sec_id AND exchange = :exchange AND valid_from <= :day "
        f"AND :day < valid_to AND {BELIEVED}"
    )
    return bool(store.rows(query, sec_id=sec_id, exchange=exchange, day=day, known=known))
