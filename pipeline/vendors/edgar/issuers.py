"""Issuers and their filings, as rows under the vendor codes of the layers below."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calendar import xnys
from pipeline.landing.requests import Line
from pipeline.vendors.contract import EVER, Landed, Reject, received
from pipeline.vendors.edgar import endpoints as ask
from pipeline.vendors.edgar.counts import Count, counts, no_splits
from pipeline.vendors.edgar.cover import ClassCount, parse_cover
from pipeline.vendors.edgar.parse import (
    Fact,
    Filing,
    Submissions,
    parse_facts,
    parse_older,
    parse_submissions,
    parse_tickers,
)
from pipeline.vendors.edgar.removal import Removal, parse_removal
from security_master.universe import STOCK_TYPES

NEAR_DAYS = 60
"""A removal is filed at most so long after the last bar that it ends."""
LONG_AGO, FAR_AHEAD = np.datetime64("1900-01-01", "s"), np.datetime64("2200-01-01", "s")
SHARE_COLUMNS = ["vendor_code", "period_end", "filed_at", "shares", "known_from"]
DELISTING_COLUMNS = ["vendor_code", "last_session", "reason", "cash", "successor_code", "successor_ratio", "known_from"]


class Issuers:
    """What was landed, by CIK. below: `securities`, and `splits` where there are any."""

    def __init__(self, landed: Landed, below: Mapping[str, pd.DataFrame]) -> None:
        self.landed, self.rejects = landed, list[Reject]()
        rows = below["securities"]
        rows = rows[rows["type"].isin(STOCK_TYPES)]
        self.securities = rows.drop_duplicates(["vendor_code", "first_session"], keep="last")
        self.ciks = {str(code): str(cik) for code, cik in zip(rows["vendor_code"], rows["cik"], strict=True) if cik}
        living = rows[rows["last_session"].isna() & (rows["cik"].fillna("") == "")]
        self.unknown = len(living)
        if self.unknown:  # of a price source that names no issuers
            for code, cik in ((code, self._tickers.get(str(code))) for code in living["vendor_code"]):
                if cik is not None:
                    self.ciks.setdefault(str(code), cik)
        self.splits = below.get("splits", pd.DataFrame(columns=["vendor_code", "ex_date", "known_from"]))

    @cached_property
    def _tickers(self) -> dict[str, str]:
        """Issuers by the tickers that were read first: who has one now says nothing about who had it before."""
        found: dict[str, str] = {}
        for line in self.landed.of(ask.TICKERS):
            found = self.landed.parsed(line, parse_tickers) | found
        return found

    @cached_property
    def codes(self) -> dict[str, list[str]]:
        """Vendor codes of each issuer."""
        found: dict[str, list[str]] = {}
        for code, cik in sorted(self.ciks.items()):
            found.setdefault(cik, []).append(code)
        return found

    @cached_property
    def latest(self) -> dict[str, Submissions]:
        return {
            ask.cik_of(line): self.landed.parsed(line, parse_submissions) for line in self.landed.of(ask.SUBMISSIONS)
        }

    def filings(self, cik: str) -> list[Filing]:
        """An issuer's filings over all pages, as first read, in the order of acceptance."""
        return sorted(self._filings.get(cik, {}).values(), key=lambda filing: (filing.accepted, filing.accession))

    @cached_property
    def _filings(self) -> dict[str, dict[str, Filing]]:
        found: dict[str, dict[str, Filing]] = {}
        for line in self.landed.facts:
            if line.endpoint == ask.SUBMISSIONS:
                read = self.landed.parsed(line, parse_submissions).filings
            elif line.endpoint == ask.OLDER:
                read = self.landed.parsed(line, parse_older)
            else:
                continue
            own = found.setdefault(ask.cik_of(line), {})
            other = sum(own.setdefault(filing.accession, filing).accepted != filing.accepted for filing in read)
            if other:
                why = f"{other} acceptance times are not those read before, which stay"
                self.rejects.append(Reject.of(line, -1, why))
        return found

    def has_classes(self, cik: str) -> bool:
        """Whether several securities of the issuer are listed at one time."""
        own = self._spans(cik)
        return any(a[0] != b[0] and a[1] <= b[2] and b[1] <= a[2] for a in own for b in own)

    def _spans(self, cik: str) -> list[tuple[str, np.datetime64, np.datetime64]]:
        """(code, first, last session) of an issuer's listings, in order."""
        return self._spans_of.get(cik, [])

    @cached_property
    def _spans_of(self) -> dict[str, list[tuple[str, np.datetime64, np.datetime64]]]:
        first = self.securities["first_session"].to_numpy().astype("datetime64[s]")
        last = self.securities["last_session"].to_numpy().astype("datetime64[s]")
        first, last = np.where(np.isnat(first), LONG_AGO, first), np.where(np.isnat(last), FAR_AHEAD, last)
        found: dict[str, list[tuple[str, np.datetime64, np.datetime64]]] = {}
        for span in zip(self.securities["vendor_code"], first, last, strict=True):
            if cik := self.ciks.get(str(span[0])):
                found.setdefault(cik, []).append(span)
        return {cik: sorted(own, key=lambda span: (span[1], span[0])) for cik, own in found.items()}

    def code_on(self, cik: str, day: dt.date) -> str:
        """The code that an issuer's one security had on a day; the nearest before or after its sessions."""
        spans, at = self._spans(cik), np.datetime64(day, "s")
        begun = [span for span in spans if span[1] <= at]
        return str((begun or spans[:1])[-1][0])

    def share_rows(self) -> pd.DataFrame:
        """The table `shares`: of the facts, or of the covers where an issuer has several classes."""
        rows: list[tuple[Any, ...]] = []
        for cik in sorted(self._readings):
            if cik not in self.codes or self.has_classes(cik):
                continue
            rows += self._counted_rows(cik)
        for line in self.landed.of(ask.COVER):
            rows += self._class_rows(line)
        frame = pd.DataFrame(rows, columns=SHARE_COLUMNS)
        return frame.drop_duplicates().reset_index(drop=True)

    def _counted_rows(self, cik: str) -> list[tuple[Any, ...]]:
        """The counts of an issuer, as each reading of its facts gave them.

        What an earlier reading gave otherwise is another row, known from the later one.
        """
        accepted = {filing.accession: filing.accepted for filing in self.filings(cik)}
        state: dict[tuple[str, int, dt.date], Fact] = {}
        told: dict[tuple[dt.date, str], float] = {}
        rows = []
        for line in self._readings[cik]:
            facts = self.landed.parsed(line, parse_facts)
            if line is not self._readings[cik][0] and not set(facts) - set(state.values()):
                continue
            state |= {(fact.accession, fact.rank, fact.end): fact for fact in facts}
            known = self.landed.known_from(line)
            for count in counts(list(state.values()), accepted, self._ratio(cik, received(line))):
                if told.get((count.end, count.accession)) == count.shares:
                    continue
                told[count.end, count.accession] = count.shares
                rows.append(self._share_row(self.code_on(cik, count.end), count, known))
                if count.note:
                    self.rejects.append(Reject.of(line, -1, f"the count of {count.end} is {count.note}; put right"))
        return rows

    def _share_row(self, code: str, count: Count, received: Any) -> tuple[Any, ...]:
        accepted = np.datetime64(count.known, "us")
        known = accepted if pd.isna(received) else max(accepted, np.datetime64(received, "us"))
        return code, np.datetime64(count.end, "s"), accepted, count.shares, known

    def _class_rows(self, line: Line) -> list[tuple[Any, ...]]:
        """The classes of one cover that are listed, by their symbol."""
        cik, accession = ask.cik_of(line), ask.accession_of(line)
        filing = self._filings.get(cik, {}).get(accession)
        found: list[ClassCount] = self.landed.parsed(line, parse_cover)
        if filing is None or not found:
            self.rejects.append(Reject.of(line, -1, "a cover without counts, or of no known filing"))
            return []
        received, rows = self.landed.known_from(line), []
        for one in found:
            symbol = one.symbol.replace(".", "-").replace(" ", "-").upper()
            if symbol in self.codes.get(cik, []):
                count = Count(one.end, float(one.shares), filing.filed, filing.accepted, accession)
                rows.append(self._share_row(symbol, count, received))
        return rows

    @cached_property
    def _readings(self) -> dict[str, list[Line]]:
        """By issuer, the readings of its facts."""
        found: dict[str, list[Line]] = {}
        for line in self.landed.of(ask.FACTS):
            found.setdefault(ask.cik_of(line), []).append(line)
        return found

    def _ratio(self, cik: str, told_by: pd.Timestamp) -> Any:
        """Function of (end, filed): product of the ratios of splits between, of the issuer's codes, told by then."""
        rows = sorted(row for code in self.codes[cik] for row in self._splits_of.get(code, ()))
        if not rows:
            return no_splits
        own = self.splits.iloc[rows]
        own = own[own["known_from"].isna() | (own["known_from"] <= told_by)]
        own = own.drop_duplicates("ex_date", keep="first")
        days = own["ex_date"].to_numpy().astype("datetime64[D]")
        ratios = (own["ratio_new"] / own["ratio_old"]).to_numpy(dtype=float) if len(own) else np.zeros(0)

        def between(end: dt.date, filed: dt.date) -> float:
            inside = (days > np.datetime64(end, "D")) & (days <= np.datetime64(filed, "D"))
            return float(np.prod(ratios[inside]))

        return between

    @cached_property
    def _splits_of(self) -> dict[str, list[int]]:
        """By vendor code, the rows of its splits."""
        found: dict[str, list[int]] = {}
        for row, code in enumerate(self.splits["vendor_code"].tolist()):
            found.setdefault(str(code), []).append(row)
        return found

    def delisting_rows(self) -> pd.DataFrame:
        """The table `delistings`, of removals of common stock whose issuer has one security that ended then."""
        rows = []
        for line in self.landed.of(ask.FILING):
            removal = self.landed.parsed(line, parse_removal)
            if removal is None or removal.cik not in self.codes:
                continue
            if not removal.common:
                self.rejects.append(
                    Reject.of(line, -1, f"a removal of {removal.description or 'nothing named'}: no stock")
                )
                continue
            ended = self._ended(removal)
            if ended is None:
                self.rejects.append(Reject.of(line, -1, f"{removal.description}: no security ended then"))
                continue
            code, last = ended
            received = self.landed.known_from(line)
            accepted = np.datetime64(removal.accepted, "us")
            known = accepted if pd.isna(received) else max(accepted, received.to_datetime64().astype("datetime64[us]"))
            rows.append((code, last, removal.reason, *self._terms(removal), known))
        frame = pd.DataFrame(rows, columns=DELISTING_COLUMNS)
        return frame.drop_duplicates("vendor_code").reset_index(drop=True)

    def _ended(self, removal: Removal) -> tuple[str, np.datetime64] | None:
        """The code that a removal ended and its last session: the last bar, near the suspension or the filing."""
        day = np.datetime64(removal.suspended or removal.accepted.date(), "s")
        spans = [span for span in self._spans(removal.cik) if span[2] != FAR_AHEAD]
        near = [span for span in spans if abs((span[2] - day).astype("timedelta64[D]").astype(int)) <= NEAR_DAYS]
        if len(near) == 1:
            return near[0][0], near[0][2]
        living = [span for span in self._spans(removal.cik) if span[2] == FAR_AHEAD]
        if not near and len(living) == 1 and removal.suspended is not None:
            before = int(xnys().on_or_before(np.datetime64(removal.suspended - dt.timedelta(days=1), "D")))
            return living[0][0], xnys().sessions[before].astype("datetime64[s]")
        return None

    def _terms(self, removal: Removal) -> tuple[float, str | None, float]:
        """cash, successor code, ratio: all that was paid, or nothing where a part of it cannot be told."""
        cash = float("nan") if removal.cash is None else float(removal.cash)
        if removal.ratio is None:
            return cash, None, float("nan")
        codes = self._codes_by_name.get(_comparable(removal.successor), set())
        if len(codes) != 1:
            return float("nan"), None, float("nan")
        return cash, min(codes), float(removal.ratio)

    @cached_property
    def _codes_by_name(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, code in zip(self.securities["name"].tolist(), self.securities["vendor_code"].tolist(), strict=True):
            found.setdefault(_comparable(name), set()).add(code)
        return found

    def classification_rows(self, industries: Mapping[int, str]) -> pd.DataFrame:
        """The table `classification` by SIC, a fallback: the first one ever, a later one from the day it was read."""
        rows, last = [], {}  # type: list[tuple[Any, ...]], dict[str, str]
        for line in self.landed.of(ask.SUBMISSIONS):
            said = self.landed.parsed(line, parse_submissions)
            cik = ask.cik_of(line)
            industry = industries.get(int(said.sic)) if said.sic.isdigit() else None
            if industry is None or last.get(cik) == industry:
                continue
            for code in self.codes.get(cik, []):
                begins = EVER if cik not in last else pd.Timestamp(line.received_at[:10])
                rows.append((code, begins, industry, self.landed.known_from(line)))
            last[cik] = industry
        return pd.DataFrame(rows, columns=["vendor_code", "valid_from", "fs_industry_code", "known_from"])


_ENDINGS = ("inc", "corp", "corporation", "co", "company", "ltd", "plc", "limited", "incorporated", "holdings", "the")


def _comparable(name: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    return " ".join(word for word in words if word not in _ENDINGS)
