"""Facts that follow a delivered row: classification, shares, splits, spin-offs, delistings.

A row belongs to the security that holds its vendor code on its date. While a code has had one holder that is plain.
For a code with several, it is asked again at each instant at which something about the code became known.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from security_master.bitemporal import Source, believed
from security_master.dates import END, NEVER, days_between, instants_of, new_york_dates
from security_master.identity import Identities
from security_master.listings import Episode, Listings
from security_master.taxonomy import UNCLASSIFIED, gics_version, industry_of_gics

Row = dict[str, Any]
TAIL = ["known_from", "known_to", "known_assumed", "source", "evidence", "batch_id"]


class Owners:
    """Who holds a vendor code on a date, as known at an instant."""

    def __init__(self, listings: Listings, identities: Identities) -> None:
        self._listings = listings
        self._assigned = identities.assigned
        self._instants: dict[str, list[str]] = {}
        self._of_security: dict[str, list[Episode]] = {}
        for episodes in listings.by_code.values():
            for episode in episodes:
                if episode.key in self._assigned:
                    self._of_security.setdefault(self._assigned[episode.key].sec_id, []).append(episode)
        self._single = {
            code: self._assigned[episodes[0].key]
            for code, episodes in listings.by_code.items()
            if len(episodes) == 1 and episodes[0].key in self._assigned
        }

    def attribute(self, rows: pd.DataFrame, dates: list[str], periods: list[str] | None = None) -> pd.DataFrame:
        """The rows with `sec_id`, `belongs_from` and `belongs_to` (instants); one row for each stretch of belief.

        dates: the date that decides, by row; a row before a code's first holder belongs to the first, one between two
        holders to the second. periods: for filings, the end of the period; between two holders the nearer one counts.
        A row of a time in which its security had another code is known when that code's holder is, where it is assumed
        when it became known (see `SecurityMaster.holders`).
        """
        codes = rows["vendor_code"].tolist()
        known = rows["known_from"].tolist()
        assumed = rows["known_assumed"].tolist()
        picked: list[int] = []
        owners: list[tuple[str, str, str]] = []
        for at, code in enumerate(codes):
            single = self._single.get(code)
            if single is not None:
                picked.append(at)
                since = max(known[at], single.known_from)
                if assumed[at] and since > known[at]:
                    since = self._known_under_another_code(single.sec_id, dates[at], known[at], since)
                owners.append((single.sec_id, since, NEVER))
                continue
            if code in self._listings.by_code:
                stretches = [*self._stretches(code, dates[at], periods[at] if periods else "", known[at])]
                if assumed[at] and stretches and stretches[0][1] > known[at]:
                    sec_id, since, until = stretches[0]
                    stretches[0] = sec_id, self._known_under_another_code(sec_id, dates[at], known[at], since), until
                for stretch in stretches:
                    picked.append(at)
                    owners.append(stretch)
        taken = rows.iloc[picked].reset_index(drop=True)
        columns = zip(*owners, strict=True) if owners else ((), (), ())
        for name, values in zip(("sec_id", "belongs_from", "belongs_to"), columns, strict=True):
            taken[name] = pd.Series(list(values), dtype=object)
        return taken

    def _known_under_another_code(self, sec_id: str, date: str, known_from: str, since: str) -> str:
        """Since when a row was known, at the latest `since`, if its security had another code on its date."""
        for episode in self._of_security.get(sec_id, ()):
            if episode.start(NEVER) <= date < self._listings.end(episode, NEVER):
                since = min(since, max(known_from, self._assigned[episode.key].known_from))
        return since

    def _stretches(self, code: str, date: str, period: str, known_from: str) -> Iterator[tuple[str, str, str]]:
        instants = [known_from] + [k for k in self._code_instants(code) if k > known_from]
        for fact in believed(instants, lambda k: self._holder(code, date, period, k)):
            yield str(fact.fact), fact.known_from, fact.known_to

    def _holder(self, code: str, date: str, period: str, instant: str) -> dict[str, Source]:
        episodes = [e for e in self._listings.by_code[code] if e.at(instant)]
        episodes.sort(key=lambda e: e.start(instant))
        if not episodes:
            return {}
        begun = [at for at, e in enumerate(episodes) if e.start(instant) <= date]
        at = begun[-1] if begun else 0
        end = self._listings.end(episodes[at], instant)
        if begun and date >= end and at + 1 < len(episodes):
            start = episodes[at + 1].start(instant)
            about_the_last = period and (period < end or days_between(end, period) < days_between(period, start))
            at += not about_the_last
        assigned = self._assigned.get(episodes[at].key)
        if assigned is None or assigned.known_from > instant:
            return {}
        return {assigned.sec_id: Source("", "", "", 0)}

    def _code_instants(self, code: str) -> list[str]:
        if code not in self._instants:
            found: set[str] = set()
            for episode in self._listings.by_code[code]:
                if episode.key in self._assigned:
                    found.add(self._assigned[episode.key].known_from)
                found |= episode.instants()
            found |= {d.known_from for d in self._listings.delistings_by_code.get(code, ())}
            self._instants[code] = sorted(found)
        return self._instants[code]


def keyed_facts(rows: pd.DataFrame, key: list[str], payload: list[str], source: str) -> pd.DataFrame:
    """Attributed rows as facts: of the rows with one security and key, the one known last is believed.

    Returns sec_id, key, payload and the tail of a fact table, sorted.
    """
    columns = ["sec_id", *key, *payload]
    repeated = rows.duplicated(subset=["sec_id", *key], keep=False).to_numpy()
    plain = rows[~repeated]
    facts = plain[columns].copy()
    facts["known_from"], facts["known_to"] = plain["belongs_from"], plain["belongs_to"]
    facts["known_assumed"], facts["source"] = plain["known_assumed"], source
    facts["evidence"], facts["batch_id"] = plain["digest"], plain["batch_id"]
    settled: list[dict[str, Any]] = []
    for _, records in _grouped(rows[repeated], ["sec_id", *key], ["known_from", "vendor_code", "digest"]):
        state = partial(_last_known, records=records, columns=columns, source=source)
        instants = {k for r in records for k in (r["belongs_from"], r["belongs_to"])}
        for known in believed(instants, state):
            fact: Any = known.fact
            tail = (known.known_from, known.known_to, known.source.known_assumed, source)
            settled.append(
                dict(zip(columns, fact, strict=True))
                | dict(zip(TAIL, (*tail, known.source.evidence, known.source.batch_id), strict=True))
            )
    if settled:
        facts = pd.concat([facts, pd.DataFrame(settled, columns=facts.columns)], ignore_index=True)
    return facts.sort_values(["sec_id", *key, "known_from"], kind="stable", ignore_index=True)


def classification_facts(rows: pd.DataFrame, codes: set[str], version: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Classification intervals of every security and scheme, and the rows whose industry code is not known.

    Schemes: `fs`, the 4-digit industry (UNCLASSIFIED for an unknown one), and `gics`, the sub-industry by name.
    """
    gics = industry_of_gics()
    industry = [
        code if code in codes else (UNCLASSIFIED if code else gics.get(name, UNCLASSIFIED))
        for code, name in zip(rows["fs_industry_code"], rows["gics_sub_industry"], strict=True)
    ]
    industry = [code if code in codes else UNCLASSIFIED for code in industry]
    unknown = rows[np.array([code == UNCLASSIFIED for code in industry], bool)]
    stated = rows["gics_sub_industry"] != ""
    by_gics = rows[stated].assign(
        scheme="gics",
        code=rows["gics_sub_industry"][stated],
        scheme_version=[gics_version(day) for day in rows["valid_from"][stated]],
    )
    both = pd.concat([rows.assign(scheme="fs", code=industry, scheme_version=version), by_gics], ignore_index=True)
    out: list[tuple[Any, ...]] = []
    for (sec_id, scheme), records in _grouped(both, ["sec_id", "scheme"], ["valid_from", "known_from", "vendor_code"]):
        state = partial(_intervals, records=records)
        instants = {k for r in records for k in (r["belongs_from"], r["belongs_to"])}
        for known in believed(instants, state):
            fact: Any = known.fact
            source = known.source
            tail = (known.known_from, known.known_to, source.known_assumed, source.table, source.evidence)
            out.append((sec_id, scheme, *fact, *tail, source.batch_id))
    columns = ["sec_id", "scheme", "scheme_version", "code", "valid_from", "valid_to", *TAIL]
    frame = pd.DataFrame(out, columns=columns)
    return frame.sort_values(["sec_id", "scheme", "valid_from", "known_from"], ignore_index=True), unknown


def _grouped(rows: pd.DataFrame, key: list[str], order: list[str]) -> Iterator[tuple[tuple[Any, ...], list[Row]]]:
    """Rows as dictionaries, by key, each group in order."""
    columns = rows.columns.tolist()
    values = zip(*(rows[column].tolist() for column in columns), strict=True)
    records: list[Row] = [dict(zip(columns, row, strict=True)) for row in values]
    records.sort(key=itemgetter(*key, *order))
    for name, group in groupby(records, key=itemgetter(*key)):
        yield name, list(group)


def _last_known(instant: str, records: list[Row], columns: list[str], source: str) -> dict[Hashable, Source]:
    """Of rows with one key, ordered by known_from, the last one that is believed at an instant."""
    alive = [record for record in records if record["belongs_from"] <= instant < record["belongs_to"]]
    if not alive:
        return {}
    last = alive[-1]
    fact = tuple(_hashable(last[column]) for column in columns)
    return {fact: Source(source, last["digest"], last["batch_id"], last["known_assumed"])}


def _intervals(instant: str, records: list[Row]) -> dict[Hashable, Source]:
    """Rows ordered by (valid_from, known_from) as intervals at an instant; the last row of a valid_from stands."""
    alive = [record for record in records if record["belongs_from"] <= instant < record["belongs_to"]]
    by_start = {record["valid_from"]: record for record in alive}
    starts = list(by_start)
    state: dict[Hashable, Source] = {}
    for start, end in zip(starts, [*starts, END][1:], strict=True):
        row = by_start[start]
        fact = (row["scheme_version"], row["code"], start, end)
        state[fact] = Source("classification", row["digest"], row["batch_id"], row["known_assumed"])
    return state


def filing_dates(filed_at: list[str]) -> list[str]:
    """The New York dates of filing instants."""
    instants = instants_of([instant[:-1] for instant in filed_at])
    return np.datetime_as_string(new_york_dates(instants)).tolist()


def _hashable(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value
