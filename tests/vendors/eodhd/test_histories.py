"""Which histories count: those that hang together, and that go on from what was recorded."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.landing.clock import stamp
from pipeline.landing.requests import Class, Line, Request
from pipeline.landing.zone import LandingZone
from pipeline.vendors.contract import Landed, Reject
from pipeline.vendors.eodhd import endpoints as ask
from pipeline.vendors.eodhd.histories import Histories
from pipeline.vendors.eodhd.parse import Change

FIRST, LAST = dt.date(2026, 9, 1), dt.date(2026, 9, 30)
DAYS = [FIRST + dt.timedelta(days=k) for k in range(28)]
CLOSES = [100.0 + k for k in range(28)]
PAID = [str(day) for day in DAYS[::3]]


@dataclass
class Asked:
    """Answers that are landed one after the other."""

    zone: LandingZone
    rejects: list[Reject] = field(default_factory=list)
    landed: int = 0

    def land(self, request: Request, rows: Any, batch: str) -> Line:
        at = stamp(dt.datetime(2026, 10, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=self.landed))
        self.landed += 1
        line = Line("eodhd", request.endpoint, request.key, at, at, 200, 0, "", Class.OK, 1, batch, "", "", request.nth)
        return self.zone.land(line, json.dumps(rows).encode())

    def history(
        self, batch: str, closes: list[float], code: str = "ABC", days: list[dt.date] = DAYS, **parts: Any
    ) -> None:
        rows = [
            {"date": str(day), "open": c, "high": c, "low": c, "close": c, "adjusted_close": c, "volume": 5}
            for day, c in zip(days, closes, strict=True)
        ]
        splits = parts.get("splits", [])
        self.land(ask.of_symbol(ask.SPLITS, code, FIRST, LAST, nth=1), splits, batch)
        self.land(ask.of_symbol(ask.EOD, code, FIRST, LAST), rows, batch)
        paid = [{"date": day, "value": 1, "currency": "USD"} for day in parts.get("paid", PAID)]
        self.land(ask.of_symbol(ask.DIVIDENDS, code, FIRST, LAST), paid, batch)
        self.land(ask.of_symbol(ask.SPLITS, code, FIRST, LAST, nth=2), parts.get("after", splits), batch)

    def made(self, changes: Any = (), census: Any = None) -> Histories:
        landed = Landed(self.zone, self.zone.lines())
        return Histories(landed, changes, census or {}, self.rejects)

    def said(self) -> str:
        return "\n".join(reject.why for reject in self.rejects)


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(LandingZone(tmp_path))


def test_a_history_that_goes_on_from_the_recorded_one_counts_with_its_corrections(asked: Asked) -> None:
    asked.history("a", CLOSES)
    asked.history("b", [*CLOSES[:4], 7.0, *CLOSES[5:]])
    assert [history.line.batch_id for history in asked.made().accepted] == ["a", "b"]
    assert asked.rejects == []


@pytest.mark.parametrize(
    ("closes", "why"),
    [
        ([round(c * 0.89, 4) for c in CLOSES[:10]] + CLOSES[10:], "10 recorded closes times 0.89, with no event"),
        ([c * 3 + k % 5 for k, c in enumerate(CLOSES)], "100% of the 28 recorded closes are others: another company"),
    ],
)
def test_a_history_that_contradicts_the_recorded_one_is_refused_by_name(
    asked: Asked, closes: list[float], why: str
) -> None:
    asked.history("a", CLOSES)
    asked.history("b", closes)
    asked.history("c", CLOSES)
    made = asked.made()
    assert [history.line.batch_id for history in made.accepted] == ["a", "c"]
    assert made.refused == {("b", "ABC", 1)}
    assert why in asked.said()


def test_a_history_whose_dividends_are_another_companys_is_refused(asked: Asked) -> None:
    asked.history("a", CLOSES)
    asked.history("b", CLOSES, paid=[str(DAYS[1])])
    assert len(asked.made().accepted) == 1
    assert "10 of the 10 recorded dividends are gone" in asked.said()


def test_a_first_history_is_held_against_the_bars_of_all_symbols(asked: Asked) -> None:
    asked.history("a", CLOSES)
    assert asked.made(census={"ABC": {DAYS[3]: CLOSES[3], DAYS[9]: 1.0}}).refused == set()
    assert asked.made(census={"ABC": {DAYS[3]: 55.0, DAYS[9]: 56.0}}).refused == {("a", "ABC", 1)}
    assert "none of its 2 closes" in asked.said()


def test_a_code_that_passes_to_another_company_goes_on_from_that_companys_own(asked: Asked) -> None:
    asked.history("a", CLOSES)
    other = [50.0 - k for k in range(28)]
    asked.history("a", other, code="XYZ")
    told = asked.land(ask.symbol_changes(FIRST, LAST), [{}], "b")
    asked.history("b", other)  # XYZ is ABC from now on
    made = asked.made(changes=[(told, Change("XYZ", "ABC", LAST, ""))])
    assert [(history.code, history.line.batch_id) for history in made.accepted][-1] == ("ABC", "b")
    assert asked.made().refused == {("b", "ABC", 1)}  # and without the change it is another company's


def test_rows_that_were_not_asked_for_stand_twice_or_out_of_order_are_told_and_harm_nobody(asked: Asked) -> None:
    outside = dt.date(2001, 1, 2)
    days, closes = [*DAYS[1::2], *DAYS[::2], outside, DAYS[0]], [*CLOSES[1::2], *CLOSES[::2], 1.0, 99.0]
    split = {"date": "2001-01-02", "split": "2/1"}
    asked.history("a", closes, days=days, splits=[split])
    (found,) = asked.made().accepted
    assert found.bars["date"].dt.date.tolist() == DAYS[1:]  # of the first day there are two bars, and none counts
    assert found.splits == ()
    for words in (
        "1 bars of days that were not",
        "1 rows of days that were not",
        "out of order",
        "2 bars of days that",
    ):
        assert words in asked.said()


def test_splits_that_change_while_a_history_is_asked_make_it_count_for_nothing(asked: Asked) -> None:
    asked.history("a", CLOSES, splits=[], after=[{"date": str(DAYS[5]), "split": "2/1"}])
    assert asked.made().accepted == []
    assert "splits asked before and after it differ" in asked.said()
