"""Who had a name on a date, from memory: tickers in any spelling, `X#N`, permanent ids. Nothing dated later counts."""

from __future__ import annotations

import difflib
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from pipeline.query.errors import BadQuestion, NothingThere, SeveralAnswers
from security_master import Industry, Span, TickerDirectory
from security_master.dates import BEGINNING, END
from security_master.names import canonical_ticker

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ./^_-]{0,15}(?:#[1-9][0-9]{0,3})?")
"""What a name can look like. A name never becomes a part of a path."""
_ID = re.compile(r"S[A-Z2-7]{8}")


class Who(NamedTuple):
    """A security on a day. ticker: as it was then. kind: `stock` or `etf`."""

    symbol: str
    ticker: str
    kind: str


class Found(NamedTuple):
    """A security that a search has found. first, last: dates of the ticker, `last` None while it still has it."""

    symbol: str
    ticker: str
    name: str
    kind: str
    first: str
    last: str | None


class Names:
    """All tickers and names that a master holds, in memory, for many threads.

    Answers are those of TickerDirectory.resolve for what is dated at or before the day asked about.
    """

    def __init__(self, directory: TickerDirectory) -> None:
        self._contests = directory.contests()
        self.industries: dict[int, Industry] = {row.code: row for row in directory.industries()}
        self._of_ticker: dict[str, list[Span]] = defaultdict(list)
        self._of_id: dict[str, list[Span]] = defaultdict(list)
        self._names: dict[str, list[Span]] = defaultdict(list)
        for span in directory.tickers():
            self._of_ticker[span.text].append(span)
            self._of_id[span.sec_id].append(span)
        for span in directory.names():
            self._names[span.sec_id].append(span)
        self._tickers = sorted(self._of_ticker)

    def resolve(self, text: str, day: str) -> str:
        """The permanent id of who had a name on a day (ISO text).

        Raises BadQuestion for what cannot be a name, NothingThere with candidates for nobody, SeveralAnswers for more
        than one.
        """
        text = text.strip()
        if not NAME.fullmatch(text):
            raise BadQuestion(f"{text[:40]!r} is no ticker, no X#N and no permanent id", code="invalid_ticker")
        if _ID.fullmatch(text) and (text in self._of_id or text in self._names):
            return text
        base, _, number = text.partition("#")
        ticker = canonical_ticker(base)
        spans = [span for span in self._of_ticker.get(ticker, ()) if span.valid_from <= day]
        if number:
            return self._numbered(ticker, spans, int(number), day)
        holders = sorted({span.sec_id for span in spans if day < span.valid_to and span.kind == "regular"})
        if len(holders) == 1:
            return holders[0]
        contested = [c for c in self._contests if c.ticker == ticker and c.start <= day < c.end]
        if holders or contested:
            candidates = holders or list(contested[0].candidates)
            raise SeveralAnswers(
                f"{ticker} on {day} may be any of {', '.join(candidates)}; ask by permanent id", candidates=candidates
            )
        candidates = _labels(ticker, spans) or self.nearest(ticker, day)
        said = (
            f"earlier holders: {', '.join(candidates)}" if spans else f"known then: {', '.join(candidates) or 'none'}"
        )
        raise NothingThere(
            f"nobody had the ticker {ticker} on {day}; {said}", code="unknown_ticker", candidates=candidates
        )

    def _numbered(self, ticker: str, spans: list[Span], number: int, day: str) -> str:
        """The N-th security that has had a ticker, as `unique_ticker` counts."""
        order = _in_order(spans)
        if number > len(order):
            raise NothingThere(
                f"{len(order)} securities have had the ticker {ticker} by {day}, not {number}",
                code="unknown_ticker",
                candidates=_labels(ticker, spans),
            )
        return order[number - 1]

    def nearest(self, ticker: str, day: str) -> list[str]:
        """Up to five tickers known on a day that look like one."""
        known = [name for name in self._tickers if self._of_ticker[name][0].valid_from <= day]
        same = [name for name in known if name.replace(".", "") == ticker.replace(".", "")]
        return same or difflib.get_close_matches(ticker, known, n=5, cutoff=0.5)

    def ticker(self, sec_id: str, day: str) -> str | None:
        """The ticker of a security on a day, or the last one it had by then; None before its first."""
        span = _last(self._of_id.get(sec_id, ()), day)
        return span.text if span else None

    def name(self, sec_id: str, day: str) -> str:
        """What a security was called on a day; "" before its first listing."""
        span = _last(self._names.get(sec_id, ()), day)
        return span.text if span else ""

    def labels(self, sec_ids: Iterable[str], day: str) -> list[str | None]:
        """A label that no other security has on a day: `X` for who has the ticker X (the listed one), `X#N` for who had
        it before; None before its first ticker."""
        told: list[str | None] = []
        for sec_id in sec_ids:
            ticker = self.ticker(sec_id, day)
            if ticker is None:
                told.append(None)
                continue
            spans = [span for span in self._of_ticker[ticker] if span.valid_from <= day]
            now = sorted(
                (span.kind != "regular", span.valid_from, span.sec_id) for span in spans if day < span.valid_to
            )
            holds = bool(now) and now[0][2] == sec_id
            told.append(ticker if holds else f"{ticker}#{_in_order(spans).index(sec_id) + 1}")
        return told

    def search(self, text: str, day: str, limit: int = 20) -> list[Found]:
        """Securities with a text in a ticker or a name that they have had by a day: those that have it first.

        text: at least one letter or digit. An exact ticker comes before a beginning, a beginning before the rest.
        """
        wanted = text.strip().upper()
        scored = []
        for ticker in self._tickers:
            if wanted in ticker:
                score = 0 if ticker == wanted else 1 if ticker.startswith(wanted) else 3
                scored += [(score, span) for span in self._of_ticker[ticker] if span.valid_from <= day]
        if len(wanted) > 1:
            for sec_id, named in self._names.items():
                latest = _last(named, day)
                span = _last(self._of_id.get(sec_id, ()), day)
                if latest and span and wanted in latest.text.upper():
                    scored.append((2, span))
        best: dict[tuple[str, str], tuple[int, bool, str, Span]] = {}
        for score, span in scored:
            key, gone = (span.sec_id, span.text), span.valid_to <= day
            best[key] = min(best.get(key, (9, True, "", span)), (score, gone, span.text, span))
        ordered = sorted(best.values(), key=lambda hit: hit[:3])
        return [self._found(span, day) for *_, span in ordered[:limit]]

    def _found(self, span: Span, day: str) -> Found:
        listing = _last(self._names.get(span.sec_id, ()), day)
        last = None if span.valid_to in (END,) or span.valid_to > day else span.valid_to
        first = "" if span.valid_from == BEGINNING else span.valid_from
        return Found(span.sec_id, span.text, self.name(span.sec_id, day), listing.kind if listing else "", first, last)


def _in_order(spans: Iterable[Span]) -> list[str]:
    return list(dict.fromkeys(span.sec_id for span in spans))


def _labels(ticker: str, spans: Iterable[Span]) -> list[str]:
    return [f"{ticker}#{n}" for n, _ in enumerate(_in_order(spans), 1)]


def _last(spans: Iterable[Span], day: str) -> Span | None:
    """The last of some spans, by their beginning, that had begun on a day."""
    ordered = list(spans)
    at = bisect_right(ordered, day, key=lambda span: span.valid_from)
    return ordered[at - 1] if at else None
