"""Who was listed under which code: episodes, with what was known of them when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.landing.requests import Line
from pipeline.vendors.contract import ALWAYS
from pipeline.vendors.eodhd.delivered import ETF, Delivered
from pipeline.vendors.eodhd.endpoints import span_of
from pipeline.vendors.eodhd.parse import Fundamentals, Listed, Mapped, ticker_of
from pipeline.vendors.eodhd.whose import Boundary, Whose
from pipeline.vendors.values import VENUES

TYPES = {
    "Common Stock": "common",
    ETF: "etf",
    "Preferred Stock": "preferred",
    "Unit": "unit",
    "Warrant": "warrant",
}
Saying = Listed | Fundamentals | Mapped
CHANGE_COLUMNS = ["vendor_code", "effective_date", "old_ticker", "new_ticker", "known_from"]


@dataclass(frozen=True)
class Facts:
    """What is said of a listing at one time."""

    name: str = ""
    type: str = "common"
    exchange: str = ""
    currency: str = "USD"
    composite_figi: str = ""
    isin: str = ""
    cusip: str = ""
    cik: str = ""

    def listed(self, row: Listed) -> Facts:
        """With what a symbol list says. A name that changed is mostly another spelling: the first one stays."""
        kind = "etf" if self.type == "etf" else TYPES.get(row.type, "other")
        kind = self.type if self.type in ("adr", "reit") and kind == "common" else kind
        return replace(
            self,
            name=self.name or row.name,
            type=_depositary(kind, row.name),
            exchange=VENUES.get(row.exchange, row.exchange) or self.exchange,
            currency=row.currency or self.currency,
            isin=row.isin or self.isin,
        )

    def described(self, said: Fundamentals) -> Facts:
        """With what the fundamentals say."""
        kind = self.type
        if kind == "common" and said.category == "ADR":
            kind = "adr"
        elif kind == "common" and said.industry.upper().startswith("REIT"):
            kind = "reit"
        return replace(
            self,
            type=kind,
            name=self.name or said.name,
            composite_figi=said.figi or self.composite_figi,
            isin=self.isin or said.isin,
            cusip=said.cusip or self.cusip,
            cik=said.cik or self.cik,
        )

    def identified(self, said: Mapped) -> Facts:
        """With what the id mapping says."""
        return replace(
            self,
            composite_figi=self.composite_figi or said.figi,
            isin=self.isin or said.isin,
            cusip=self.cusip or said.cusip,
            cik=self.cik or said.cik,
        )

    def told(self, said: Saying) -> Facts:
        if isinstance(said, Listed):
            return self.listed(said)
        return self.described(said) if isinstance(said, Fundamentals) else self.identified(said)


@dataclass(frozen=True)
class Episode:
    """One company under one code. owner: the vendor's code for it now; last: None while it lives."""

    code: str
    owner: str
    first: np.datetime64
    last: np.datetime64 | None
    known: pd.Timestamp
    ended: pd.Timestamp


def _depositary(kind: str, name: str) -> str:
    """A common stock that is called a depositary receipt is one."""
    called = name.upper()
    return "adr" if kind == "common" and (called.endswith(" ADR") or "AMERICAN DEPOSITARY" in called) else kind


def episodes(delivered: Delivered, whose: Whose, prices: pd.DataFrame) -> list[Episode]:
    """All episodes with bars, in the order of code and time.

    first: of the bars that were known first, so that a longer history later moves nothing. ended: when the end became
    known (a rename, a recycled code, or a list of the active symbols without it), NaT for the default.
    """
    dead = _dead_since(delivered)
    asked = [span_of(history.line)[0] for history in delivered.histories]
    starts = xnys().sessions[int(xnys().on_or_after(np.datetime64(min(asked), "D")))].astype("datetime64[s]")
    number = prices["vendor_code"].cat.codes.to_numpy()
    order = np.argsort(number, kind="stable")
    of_code, begins_at = np.unique(number[order], return_index=True)
    every, told = prices["date"].to_numpy(), prices["known_from"].to_numpy()
    found = []
    for code, at in zip(prices["vendor_code"].cat.categories[of_code], np.split(order, begins_at[1:]), strict=True):
        bounds = whose.boundaries.get(str(code), [])
        cuts = [np.datetime64("1900-01-01", "s"), *(b.day for b in bounds), np.datetime64("2200-01-01", "s")]
        closing: list[Boundary | None] = [*bounds, None]
        dates, known = every[at], told[at]
        for begins, ends, bound in zip(cuts[:-1], cuts[1:], closing, strict=True):
            own = (dates >= begins) & (dates < ends)
            if own.any():
                found.append(_episode(str(code), dates[own], known[own], bound, dead, delivered, starts, len(dates)))
    return found


def _episode(
    code: str,
    dates: NDArray[np.datetime64],
    known: NDArray[np.datetime64],
    bound: Boundary | None,
    dead: dict[str, Line],
    delivered: Delivered,
    starts: np.datetime64,
    whole: int,
) -> Episode:
    """The first episode of a code has no first session where its bars begin with what was asked: it may be older."""
    by_default = np.isnat(known)
    since = pd.NaT if by_default.any() else pd.Timestamp(known.min())
    first, last = dates[by_default if since is pd.NaT else known == known.min()].min(), dates.max()
    if since is pd.NaT and bound is None and first <= starts and len(dates) == whole:
        first = np.datetime64("NaT", "s")
    if bound is not None:
        return Episode(code, bound.owner, first, last, since, bound.known)  # type: ignore[arg-type]
    line = dead.get(code)
    if line is None or np.datetime64(line.received_at[:10], "s") <= last:
        return Episode(code, code, first, None, since, pd.NaT)  # type: ignore[arg-type]
    return Episode(code, code, first, last, since, delivered.landed.known_from(line))  # type: ignore[arg-type]


def _dead_since(delivered: Delivered) -> dict[str, Line]:
    """By code, the first of the lists of delisted symbols that has it since the active ones last had it."""
    dead: dict[str, Line] = {}
    alive: dict[str, Listed] = {}
    for line, active, rows in delivered.lists:
        if active:
            alive = rows
            dead = {code: first for code, first in dead.items() if code not in rows}
        else:
            for code in rows:
                if code not in alive:
                    dead.setdefault(code, line)
    return dead


def security_rows(delivered: Delivered, found: list[Episode]) -> pd.DataFrame:
    """The table `securities`: a row for each episode, and one more whenever something else was said of it."""
    said = _sayings(delivered)
    rows: list[dict[str, Any]] = []
    for episode in found:
        versions: list[tuple[pd.Timestamp, Facts]] = []
        facts = Facts()
        own = said.get(episode.code, [])
        if episode.owner != episode.code:  # what was said while it was its code, else where it is now
            own = [s for s in own if _before(s, episode)] or said.get(episode.owner, [])[:2]
        for known, saying in own:
            facts = facts.told(saying)
            since = max(known, episode.known, key=_moment)
            if versions and _moment(versions[-1][0]) == _moment(since):
                versions[-1] = (since, facts)
            elif not versions or versions[-1][1] != facts:
                versions.append((since, facts))
        rows += _rows_of(episode, versions or [(episode.known, facts)])
    frame = pd.DataFrame(rows)
    return frame.drop_duplicates().reset_index(drop=True)


def _rows_of(episode: Episode, versions: list[tuple[pd.Timestamp, Facts]]) -> list[dict[str, Any]]:
    """Rows of one episode: its end is told by a row of its own when it became known later than the rest."""
    base = {"vendor_code": episode.code, "ticker": ticker_of(episode.code), "first_session": episode.first}
    told: list[tuple[pd.Timestamp, Facts, np.datetime64 | None]] = []
    end_told = episode.last is None
    for known, facts in versions:
        ended = episode.last is not None and _moment(episode.ended) <= _moment(known)
        end_told |= ended
        told.append((known, facts, episode.last if ended else None))
    if not end_told:
        told.append((episode.ended, versions[-1][1], episode.last))
    return [
        {
            **base,
            **vars(facts),
            "last_session": last if last is not None else np.datetime64("NaT", "s"),
            "known_from": known,
        }
        for known, facts, last in told
    ]


def _sayings(delivered: Delivered) -> dict[str, list[tuple[pd.Timestamp, Saying]]]:
    """What lists and fundamentals said of each code, in the order of receipt; repetitions are left out."""
    found: dict[str, list[tuple[pd.Timestamp, Saying]]] = {}
    last: dict[tuple[str, type], Any] = {}
    every: list[tuple[Line, list[Saying]]] = []
    known_codes = {history.code for history in delivered.histories} | {change.old for _, change in delivered.changes}
    for line, _, listing in delivered.lists:
        every.append((line, [row for code, row in listing.items() if code in known_codes]))
    every += [(line, [said]) for line, said in delivered.fundamentals]
    every += [(line, [said]) for line, said in delivered.mapped]
    for line, sayings in sorted(every, key=lambda pair: pair[0].received_at):
        known = delivered.landed.known_from(line)
        for saying in sayings:
            key = (saying.code, type(saying))
            if last.get(key) != saying:
                last[key] = saying
                found.setdefault(saying.code, []).append((known, saying))
    return found


def _before(saying: tuple[pd.Timestamp, Saying], episode: Episode) -> bool:
    """Whether something was said of the code while it was still this episode's."""
    return _moment(saying[0]) < _moment(episode.ended)


def _moment(known: pd.Timestamp) -> pd.Timestamp:
    return ALWAYS if pd.isna(known) else known


def change_rows(delivered: Delivered, found: list[Episode]) -> pd.DataFrame:
    """The table `ticker_changes`, of changes whose new code is listed from then on."""
    listed = {(episode.code, episode.first) for episode in found}
    rows = []
    for line, change in delivered.changes:
        if any(code == change.new and not first < np.datetime64(change.effective, "s") for code, first in listed):
            known = delivered.landed.known_from(line)
            rows.append(
                (change.new, np.datetime64(change.effective, "s"), ticker_of(change.old), ticker_of(change.new), known)
            )
    return pd.DataFrame(rows, columns=CHANGE_COLUMNS)
