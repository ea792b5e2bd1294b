"""Listing episodes as they were known at an instant: start, end, ticker and identifiers of a vendor code's holder.

One row of `securities` (all its versions together) is an *episode*: one company under one vendor code from its first
session on. Everything here is a function of an instant K and looks only at rows known by K.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import pandas as pd

from security_master.dates import BEGINNING, END, close_of, day_after, new_york_date
from security_master.names import canonical_ticker, comparable_name, cusip_of_isin, market_of, trading_mode
from security_master.registry import SCHEMES, Anchor

WITHDRAWN = "withdrawn"
"""Reason of a version that takes a delisting back: the security trades on."""


@dataclass(frozen=True)
class Version:
    """What a row of `securities` said from `known_from` on."""

    vendor_code: str
    ticker: str
    name: str
    sec_type: str
    exchange: str
    currency: str
    last_session: str
    ids: dict[str, str]
    cik: str
    first_bar: str
    known_from: str
    known_assumed: int
    batch_id: str
    digest: str

    @property
    def anchors(self) -> list[Anchor]:
        """Identifiers of the share class, strongest first."""
        return [Anchor(scheme, self.ids[scheme]) for scheme in SCHEMES if scheme in self.ids]

    @property
    def market(self) -> str:
        return market_of(self.exchange)

    @property
    def mode(self) -> str:
        return trading_mode(self.sec_type, self.market)

    @property
    def comparable_name(self) -> str:
        return comparable_name(self.name)


@dataclass(frozen=True)
class TickerChange:
    vendor_code: str
    effective: str
    old: str
    new: str
    known_from: str
    known_assumed: int
    batch_id: str
    digest: str


@dataclass(frozen=True)
class Delisting:
    vendor_code: str
    last_session: str
    reason: str
    known_from: str


@dataclass(eq=False)
class Episode:
    """All versions of one row of `securities`, in the order in which they became known."""

    vendor_code: str
    first_session: str
    versions: list[Version] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.vendor_code}|{self.first_session}"

    @property
    def known_from(self) -> str:
        return self.versions[0].known_from

    def at(self, instant: str) -> Version | None:
        """The latest version known at an instant."""
        position = bisect_right(self.versions, instant, key=lambda version: version.known_from)
        return self.versions[position - 1] if position else None

    def instants(self) -> set[str]:
        """When a row became known, and when a stated last session was over."""
        stated = (v for v in self.versions if v.last_session)
        ends = {max(version.known_from, close_of(version.last_session)) for version in stated}
        return ends | {version.known_from for version in self.versions}

    def start(self, instant: str) -> str:
        """First session, or the first price where the source states none."""
        version = self.at(instant)
        return self.first_session or (version.first_bar if version else "") or BEGINNING


class Listings:
    """Every episode, ticker change and delisting of the delivered rows, looked at as of an instant."""

    def __init__(self, securities: pd.DataFrame, ticker_changes: pd.DataFrame, delistings: pd.DataFrame) -> None:
        self.episodes: dict[str, Episode] = {}
        self.by_code: dict[str, list[Episode]] = defaultdict(list)
        self.changes_by_code: dict[str, list[TickerChange]] = defaultdict(list)
        self.changes_to: dict[str, list[TickerChange]] = defaultdict(list)
        self.delistings_by_code: dict[str, list[Delisting]] = defaultdict(list)
        self.by_ticker: dict[str, list[Episode]] = defaultdict(list)
        self._read_securities(securities)
        self._read_changes(ticker_changes)
        for row in delistings.sort_values("known_from", kind="stable").to_dict("records"):
            self.delistings_by_code[row["vendor_code"]].append(
                Delisting(row["vendor_code"], row["last_session"], row["reason"], row["known_from"])
            )
        self._index_tickers()

    def changes(self, code: str, instant: str) -> list[TickerChange]:
        """Changes of a code known at an instant, in the latest version of each, by effective date."""
        known = {c.effective: c for c in self.changes_by_code.get(code, ()) if c.known_from <= instant}
        return [known[day] for day in sorted(known)]

    def following(self, episode: Episode, instant: str) -> Episode | None:
        """The next episode of the same code that is known at an instant."""
        siblings = self.by_code[episode.vendor_code]
        if len(siblings) == 1:
            return None
        start = episode.start(instant)
        later = [e for e in siblings if e is not episode and e.at(instant) and e.start(instant) > start]
        return min(later, key=lambda e: e.start(instant), default=None)

    def delisting(self, episode: Episode, instant: str) -> Delisting | None:
        """The delisting of an episode, as known at an instant."""
        rows = self.delistings_by_code.get(episode.vendor_code)
        if not rows:
            return None
        start, following = episode.start(instant), self.following(episode, instant)
        until = following.start(instant) if following else END
        known = {d.last_session: d for d in rows if d.known_from <= instant and start <= d.last_session < until}
        believed = [d for d in known.values() if d.reason != WITHDRAWN]
        return max(believed, key=lambda d: d.last_session, default=None)

    def last_session(self, episode: Episode, instant: str) -> str:
        """The last session of an episode, "" while none is known. A stated one counts from its close on."""
        version = episode.at(instant)
        stated = version.last_session if version else ""
        if stated and close_of(stated) <= instant and not self._withdrawn(episode.vendor_code, stated, instant):
            return stated
        delisting = self.delisting(episode, instant)
        return delisting.last_session if delisting else ""

    def _withdrawn(self, code: str, last_session: str, instant: str) -> bool:
        """Whether trading contradicts, as known at an instant, that a code ended with this session."""
        rows = [d for d in self.delistings_by_code.get(code, ()) if d.last_session == last_session]
        known = [d for d in rows if d.known_from <= instant]
        return bool(known) and known[-1].reason == WITHDRAWN

    def end(self, episode: Episode, instant: str) -> str:
        """End of an episode (exclusive): the day after its last session, or where the code's next episode begins."""
        last = self.last_session(episode, instant)
        end = day_after(last) if last else END
        following = self.following(episode, instant)
        return min(end, following.start(instant)) if following else end

    def tickers(self, episode: Episode, instant: str) -> list[tuple[str, str]]:
        """(from, ticker) of an episode as known at an instant; the first `from` is its start.

        Dated changes say when a ticker began. The ticker of the row is the one at the time of writing: changes not yet
        known are undone. A new version of the row with another ticker that no change explains takes effect on the New
        York date of its `known_from`.
        """
        version = episode.at(instant)
        if version is None:
            return []
        start = episode.start(instant)
        changes = [c for c in self.changes(episode.vendor_code, instant) if start <= c.effective]
        versions = [v for v in episode.versions if v.known_from <= instant]
        spans = [(start, self._label(episode, versions[0], instant))]
        if changes:
            spans = [(start, changes[0].old)] if changes[0].effective > start else []
            spans += [(c.effective, c.new) for c in changes]
        for before, after in pairwise(versions):
            label = self._label(episode, after, instant)
            day = max(new_york_date(after.known_from), start)
            if label != self._label(episode, before, instant) and label not in {t for _, t in spans}:
                spans = [span for span in spans if span[0] != day] + [(day, label)]
        return _collapsed(sorted(spans))

    def first_ticker(self, episode: Episode, instant: str) -> str:
        """The ticker under which an episode began, as known at an instant."""
        return self.tickers(episode, instant)[0][1]

    def _label(self, episode: Episode, version: Version, instant: str) -> str:
        """The ticker of a row with the changes undone that were not known at an instant."""
        ticker = version.ticker
        rows = self.changes_by_code.get(episode.vendor_code, ())
        known = {c.effective for c in rows if c.known_from <= instant}
        for change in sorted(rows, key=lambda c: c.effective, reverse=True):
            if change.effective not in known and change.new == ticker and change.effective >= episode.first_session:
                ticker = change.old
        return ticker

    def _read_securities(self, rows: pd.DataFrame) -> None:
        for row in rows.sort_values(["vendor_code", "first_session", "known_from"]).to_dict("records"):
            ids = {scheme: value for scheme in SCHEMES if (value := row[scheme].upper())}
            if "isin" in ids and "cusip" not in ids and (cusip := cusip_of_isin(ids["isin"])):
                ids["cusip"] = cusip
            version = Version(
                vendor_code=row["vendor_code"],
                ticker=canonical_ticker(row["ticker"]),
                name=row["name"],
                sec_type=row["type"],
                exchange=row["exchange"],
                currency=row["currency"],
                last_session=row["last_session"],
                ids=ids,
                cik=row["cik"].lstrip("0"),
                first_bar=row["first_bar"],
                known_from=row["known_from"],
                known_assumed=row["known_assumed"],
                batch_id=row["batch_id"],
                digest=row["digest"],
            )
            key = f"{row['vendor_code']}|{row['first_session']}"
            if key not in self.episodes:
                self.episodes[key] = Episode(row["vendor_code"], row["first_session"])
                self.by_code[row["vendor_code"]].append(self.episodes[key])
            self.episodes[key].versions.append(version)

    def _read_changes(self, rows: pd.DataFrame) -> None:
        for row in rows.sort_values("known_from", kind="stable").to_dict("records"):
            change = TickerChange(
                vendor_code=row["vendor_code"],
                effective=row["effective_date"],
                old=canonical_ticker(row["old_ticker"]),
                new=canonical_ticker(row["new_ticker"]),
                known_from=row["known_from"],
                known_assumed=row["known_assumed"],
                batch_id=row["batch_id"],
                digest=row["digest"],
            )
            self.changes_by_code[change.vendor_code].append(change)
            self.changes_to[change.new].append(change)

    def _index_tickers(self) -> None:
        for episode in self.episodes.values():
            tickers = {v.ticker for v in episode.versions}
            tickers |= {t for c in self.changes_by_code.get(episode.vendor_code, ()) for t in (c.old, c.new)}
            for ticker in sorted(tickers):
                self.by_ticker[ticker].append(episode)


def _collapsed(spans: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without spans that repeat the ticker before them."""
    kept: list[tuple[str, str]] = []
    for day, ticker in spans:
        if not kept or kept[-1][1] != ticker:
            kept.append((day, ticker))
    return kept
