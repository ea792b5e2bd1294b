"""The kinds of vendor errors, and what is expected of who reads the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from numpy.random import Generator

from pipeline.sources.planted_faults import company_faults, event_faults, price_faults
from pipeline.sources.planted_faults.spoiled import Spoiled


@dataclass(frozen=True)
class Fault:
    """One kind of error.

    plant: adds so many (or as many as find a place) to the tables and to their ledger. full_count: how many a market of
    3,000 stocks over 20 years has. handling: what the rules should do. detectable: whether one source can show it.
    """

    plant: Callable[[Spoiled, Generator, int], None]
    full_count: int
    handling: Literal["reject", "quarantine", "accept-and-flag"]
    detectable: bool


FAULTS: dict[str, Fault] = {
    "spliced_history": Fault(company_faults.spliced_history, 12, "reject", True),
    "stale_day": Fault(price_faults.stale_day, 1, "quarantine", True),
    "partial_day": Fault(price_faults.partial_day, 1, "quarantine", True),
    "date_shift": Fault(price_faults.date_shift, 5, "quarantine", True),
    "long_gap": Fault(price_faults.long_gap, 3, "accept-and-flag", True),
    "price_x100": Fault(price_faults.price_x100, 40, "reject", True),
    "price_sentinel": Fault(price_faults.price_sentinel, 15, "reject", True),
    "price_impossible": Fault(price_faults.price_impossible, 20, "reject", True),
    "spin_off_as_split": Fault(event_faults.spin_off_as_split, 20, "quarantine", True),
    "misdated_split": Fault(event_faults.misdated_split, 40, "quarantine", True),
    "wrong_ratio_fixed_later": Fault(event_faults.wrong_ratio_fixed_later, 10, "quarantine", True),
    "missing_split": Fault(event_faults.missing_split, 25, "quarantine", True),
    "duplicate_split": Fault(event_faults.duplicate_split, 25, "reject", True),
    "adjusted_dividend": Fault(event_faults.adjusted_dividend, 60, "accept-and-flag", False),
    "wrong_currency": Fault(event_faults.wrong_currency, 40, "quarantine", True),
    "duplicate_dividend": Fault(event_faults.duplicate_dividend, 80, "reject", True),
    "missing_dividend": Fault(event_faults.missing_dividend, 120, "accept-and-flag", False),
    "stale_tail": Fault(price_faults.stale_tail, 60, "reject", True),
    "when_issued": Fault(price_faults.when_issued, 10, "reject", True),
    "late_delisting": Fault(company_faults.late_delisting, 30, "accept-and-flag", False),
    "ohlc_inconsistent": Fault(price_faults.ohlc_inconsistent, 60, "accept-and-flag", True),
    "volume_overflow": Fault(price_faults.volume_overflow, 5, "accept-and-flag", True),
    "duplicated_row": Fault(price_faults.duplicated_row, 60, "accept-and-flag", True),
    "missing_day": Fault(price_faults.missing_day, 400, "accept-and-flag", True),
    "shares_x1000": Fault(company_faults.shares_x1000, 15, "quarantine", True),
    "missing_shares": Fault(company_faults.missing_shares, 30, "accept-and-flag", True),
    "shared_test_price": Fault(price_faults.shared_test_price, 15, "quarantine", True),
    "placeholder_count": Fault(company_faults.placeholder_count, 15, "quarantine", True),
    "count_of_another_class": Fault(company_faults.count_of_another_class, 10, "quarantine", True),
    "count_in_later_units": Fault(company_faults.count_in_later_units, 15, "accept-and-flag", True),
}
"""Rare events come first, so that they find a place."""
