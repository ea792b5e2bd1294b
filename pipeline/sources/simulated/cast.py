"""A few slots play a part, so that every market of enough slots has each phenomenon, at a known time.

Offsets count sessions from the first session of the market. Everything else about these companies is drawn as usual.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Role:
    """What happens to the first company of a slot, whatever was drawn for it.

    lives_on: it never dies. ends_at, end: its last session and how it ends. renamed_at, reclassified_at: sessions.
    recycled_at: a new company lists then, under the old ticker; shares_code: and under its vendor code.
    takes_ticker: this is that new company. later_listings: sessions on which the slot lists further companies.
    special_at: sessions with a special dividend, and its share of the price. traits: fields of the company.
    """

    lives_on: bool = False
    ends_at: int | None = None
    end: str = ""
    renamed_at: int | None = None
    reclassified_at: int | None = None
    recycled_at: int = -1
    shares_code: bool = False
    takes_ticker: bool = False
    later_listings: tuple[int, ...] = ()
    special_at: dict[int, float] = field(default_factory=dict)
    traits: dict[str, Any] = field(default_factory=dict)


CAST: dict[int, Role] = {
    0: Role(lives_on=True, traits={"price": 520.0, "split_above": 560.0, "split_to": 80.0, "shares": 3e9, "vol": 0.2}),
    1: Role(lives_on=True, renamed_at=280),
    2: Role(ends_at=220, end="cash_merger", recycled_at=245, shares_code=True, later_listings=(245,)),
    3: Role(ends_at=330, end="stock_merger"),
    4: Role(ends_at=400, end="exchange_drop", traits={"exchange": "NASDAQ"}),
    5: Role(ends_at=500, end="bankruptcy"),
    6: Role(lives_on=True, traits={"price": 2.2, "vol": 1.3, "shares": 4e7, "pays": 0.0}),
    7: Role(lives_on=True, special_at={150: 0.30, 410: 0.08}),
    14: Role(lives_on=True, traits={"price": 98.0, "split_above": 100.0, "split_to": 66.0}),
    15: Role(lives_on=True, reclassified_at=310),
    16: Role(lives_on=True, traits={"ticker": "NA"}),
    17: Role(lives_on=True, traits={"ticker": "TRUE"}),
    18: Role(traits={"ticker": "ON"}),
    19: Role(traits={"ticker": "NULL"}),
    20: Role(ends_at=600, end="cash_merger", recycled_at=601, later_listings=(601,)),
    21: Role(ends_at=450, end="liquidation"),
    22: Role(ends_at=470, end="voluntary"),
    23: Role(ends_at=520, end="exchange_drop", traits={"exchange": "NYSE"}),
    24: Role(lives_on=True, later_listings=(100, 260)),
}
