"""From a ticker and a date to a security: one at a time, or many at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from security_master.dates import date_text
from security_master.errors import ExplainedError
from security_master.names import canonical_ticker
from security_master.store import BELIEVED, Store, instant_or_newest

Mode = Literal["regular", "any"]


class UnknownTicker(ExplainedError, LookupError):
    """No security is known ever to have had the ticker. `nearest`: tickers that look like it."""

    def __init__(self, ticker: str, nearest: Sequence[str]) -> None:
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        super().__init__(f"no security is known to have had the ticker {ticker!r}{hint}")
        self.ticker, self.nearest = ticker, tuple(nearest)


class AmbiguousTicker(ExplainedError, LookupError):
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


def resolve(store: Store, ticker: str, as_of: Any, known_as_of: Any, exchange: str | None, mode: Mode) -> str | None:
    """See TickerDirectory.resolve."""
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


def resolve_many(store: Store, tickers: Sequence[str], dates: Any, known: str, mode: Mode) -> list[tuple[str, str]]:
    """(sec_id, status) of each (ticker, date) pair; see SecurityMaster.resolve_many."""
    names = [canonical_ticker(ticker) for ticker in tickers]
    days = np.datetime_as_string(np.asarray(dates).astype("datetime64[D]")).tolist()
    asked = list(dict.fromkeys(zip(names, days, strict=True)))
    holders: dict[int, set[str]] = {}
    for number, sec_id in store.rows(
        "WITH q AS MATERIALIZED (SELECT key, substr(value, 1, 10) AS day, substr(value, 11) AS ticker "
        "FROM json_each(:asked)) SELECT q.key, t.sec_id FROM q CROSS JOIN ticker_map t "
        "ON t.ticker = q.ticker AND t.valid_from <= q.day AND q.day < t.valid_to "
        f"WHERE {BELIEVED} AND (:mode = 'any' OR t.trading_mode = 'regular')",
        asked=json.dumps([f"{day:10.10}{name}" for name, day in asked]),
        known=known,
        mode=mode,
    ):
        holders.setdefault(number, set()).add(sec_id)
    unanswered = {name for number, (name, _) in enumerate(asked) if number not in holders}
    listed = "ticker IN (SELECT value FROM json_each(:asked))"
    query = f"SELECT DISTINCT ticker FROM ticker_map WHERE {listed} AND {BELIEVED}"
    ever = {ticker for (ticker,) in store.rows(query, asked=json.dumps(sorted(unanswered)), known=known)}
    contested = [contest for contest in contests(store, known) if contest.ticker in unanswered]
    answers: dict[tuple[str, str], tuple[str, str]] = {}
    for number, (name, day) in enumerate(asked):
        if number in holders:
            found = holders[number]
            answers[name, day] = (next(iter(found)), "ok") if len(found) == 1 else ("", "ambiguous")
        elif any(contest.ticker == name and contest.start <= day < contest.end for contest in contested):
            answers[name, day] = "", "ambiguous"
        else:
            answers[name, day] = "", "none" if name in ever else "unknown"
    return [answers[question] for question in zip(names, days, strict=True)]


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
