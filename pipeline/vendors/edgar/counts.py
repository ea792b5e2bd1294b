"""Share counts of an issuer, dated: which row of which filing says what, in which units, since when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pipeline.vendors.edgar.parse import Fact

SCALES = (1_000, 1_000_000)
"""Filings in thousands and in millions."""
NEAR = 1.5
"""Factor within which two counts may be the same company's, a quarter apart or said twice."""
FAR = 100.0
"""Factor beyond which a count that nothing confirms is in another unit."""

Ratio = Callable[[dt.date, dt.date], float]
"""(end, filed) to the product of the split ratios with an ex-date after the first and up to the second day."""


class Count(NamedTuple):
    """A count as of `end`, in that day's units. known: naive UTC acceptance of its filing."""

    end: dt.date
    shares: float
    filed: dt.date
    known: dt.datetime
    accession: str
    note: str = ""


def no_splits(_: dt.date, __: dt.date) -> float:
    return 1.0


def counts(facts: Sequence[Fact], accepted: Mapping[str, dt.datetime], ratio: Ratio = no_splits) -> list[Count]:
    """The counts in the order in which they became known.

    Of a filing, the cover's count is taken, and the balance sheet's latest where it has none: comparative rows repeat
    what earlier filings said. Of one `end` the first filing counts; an amendment corrects it when it says about the
    same. Rows of one filing never confirm each other: a count in thousands is recognised by the cover of its filing,
    or by the count before it.
    """
    by_filing: dict[str, list[Fact]] = {}
    for fact in facts:
        by_filing.setdefault(fact.accession, []).append(fact)
    found: list[Count] = []
    ends: dict[dt.date, Count] = {}
    for accession in sorted(by_filing, key=lambda name: (_known(by_filing[name], accepted), name)):
        fact = chosen(by_filing[accession])
        known = _known(by_filing[accession], accepted)
        before = found[-1] if found else None
        shares, note = _in_units_of_end(fact, before, ratio)
        count = Count(fact.end, shares, fact.filed, known, accession, note)
        first = ends.get(fact.end)
        if first is not None:
            amends = fact.form.endswith("/A") and _factor(first.shares, shares) <= NEAR and shares != first.shares
            if not amends:
                continue
        elif before is not None and fact.end < before.end:
            continue  # a comparative of a filing that says no more
        ends[fact.end] = count
        found.append(count)
    return found


def chosen(rows: Sequence[Fact]) -> Fact:
    """The row of one filing that says how many shares there are: the best rank, of it the latest end."""
    best = min(row.rank for row in rows)
    return max((row for row in rows if row.rank == best), key=lambda row: (row.end, row.value))


def _known(rows: Sequence[Fact], accepted: Mapping[str, dt.datetime]) -> dt.datetime:
    """Acceptance of the filing; where it is not known the end of its day in New York, at the latest 05:00 UTC."""
    found = accepted.get(rows[0].accession)
    return found or dt.datetime.combine(rows[0].filed + dt.timedelta(days=1), dt.time(5))


def _in_units_of_end(fact: Fact, before: Count | None, ratio: Ratio) -> tuple[float, str]:
    """The count in units of its `end`: thousands undone, and a split that the filing had already applied."""
    shares, note = float(fact.value), ""
    if before is None:
        return shares, note
    expected = before.shares * ratio(before.end, fact.end)
    if _factor(shares, expected) > FAR:
        for scale in SCALES:
            if _factor(shares * scale, expected) <= NEAR * 2:
                shares, note = shares * scale, f"in units of {scale:,}"
                break
    applied = ratio(fact.end, fact.filed)
    if applied != 1.0 and _factor(shares / applied, expected) < _factor(shares, expected):
        shares, note = shares / applied, f"in units after the split of {applied:g} for 1"
    return shares, note


def _factor(a: float, b: float) -> float:
    """How many times larger one is than the other."""
    if a <= 0 or b <= 0:
        return float("inf")
    return max(a / b, b / a)
