"""Quota and pace: one file for all processes of a machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.landing.fetcher import retry_after
from pipeline.landing.ledger import Ledger, Quota, QuotaSpent

NOW = datetime(2026, 10, 30, 23, 50, tzinfo=UTC)
SMALL = Quota(100, kept=0.05, per_minute=60)


def test_a_backfill_leaves_what_the_night_needs_and_goes_on_after_midnight_gmt(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.reserve("v", 95, SMALL, NOW, night=False)
    with pytest.raises(QuotaSpent, match="95 of 95 units of 2026-10-30"):
        ledger.reserve("v", 1, SMALL, NOW, night=False)
    Ledger(tmp_path / "ledger.sqlite").reserve("v", 5, SMALL, NOW, night=True)  # another process
    with pytest.raises(QuotaSpent):
        ledger.reserve("v", 1, SMALL, NOW, night=True)
    ledger.reserve("v", 1, SMALL, NOW + timedelta(minutes=10), night=False)


def test_a_failed_request_costs_nothing_and_the_vendor_may_know_of_more(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.reserve("v", 10, SMALL, NOW, night=True)
    ledger.give_back("v", 10, NOW)
    assert ledger.used("v", NOW) == 0
    ledger.reconcile("v", 42, NOW)
    ledger.reconcile("v", 7, NOW)
    assert ledger.used("v", NOW) == 42


def test_the_pace_is_that_of_the_header_over_all_processes(tmp_path: Path) -> None:
    a, b = (Ledger(tmp_path / "ledger.sqlite") for _ in range(2))
    waits = [ledger.wait("v", SMALL, NOW) for ledger in (a, b, a, b)]
    assert waits == pytest.approx([0.0, 0.0, 1.0, 2.0])
    a.set_rate("v", 600, NOW)
    waits = [b.wait("v", SMALL, NOW) for _ in range(3)]
    assert waits == pytest.approx([3.0, 3.1, 3.2])
    a.pause("v", SMALL, 30, NOW)
    assert b.wait("v", SMALL, NOW) == pytest.approx(30.0)


@pytest.mark.parametrize(("said", "seconds"), [("2", 2), ("", 60), ("Fri, 30 Oct 2026 23:50:07 GMT", 7), ("soon", 60)])
def test_retry_after_is_a_number_a_date_or_a_minute(said: str, seconds: float) -> None:
    assert retry_after(said, NOW) == seconds
