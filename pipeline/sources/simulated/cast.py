"""A few slots play a part, so that every market of enough slots has each phenomenon, at a known time.

Everything that a role leaves open is drawn as for any other company.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any


@dataclass(frozen=True)
class Role:
    """What happens to the first company of a slot. Times are offsets in sessions from the market's first session.

    traits:          fields of the company.
    lives_on:        it never dies.
    ends_at:         its last session; how it ends is a trait.
    renamed_at:      ticker changes, a second one being back to the old ticker.
    later_listings:  the slot's further listings.
    heir_at:         the one of them that takes the old ticker, with heir_shares_code the vendor code too.
    code_moves_at:   the vendor moves the company to another code.
    redomiciled_at:  a new ISIN.
    spins_off_at:    a part of it lists as a company.
    pays_at:         an ex-date of its regular dividend.
    halts:           first halted session -> sessions without trading.
    splits:          ex-date -> (new, old).
    specials:        ex-date of a special dividend -> its share of the price.
    jumps:           genuine jumps of the price that no factor explains.
    """

    traits: dict[str, Any] = field(default_factory=dict)
    lives_on: bool = False
    ends_at: int | None = None
    renamed_at: tuple[int, ...] = ()
    reclassified_at: int | None = None
    later_listings: tuple[int, ...] = ()
    heir_at: int | None = None
    heir_shares_code: bool = False
    code_moves_at: int | None = None
    redomiciled_at: int | None = None
    spins_off_at: int | None = None
    pays_at: int | None = None
    halts: dict[int, int] = field(default_factory=dict)
    splits: dict[int, tuple[int, int]] = field(default_factory=dict)
    specials: dict[int, float] = field(default_factory=dict)
    jumps: dict[int, float] = field(default_factory=dict)


_SQUEEZE = (0.18, 0.51, -0.10, 0.18, 0.93, 1.35, -0.44, 0.68, -0.31, -0.60, -0.42)

CAST: dict[int, Role] = {
    # splits, the first one 7:1; a stock dividend; a split and a dividend on one day
    0: Role({"price": 520.0, "split_above": inf, "shares": 3e9, "vol": 0.2}, lives_on=True, splits={110: (7, 1)}),
    14: Role({"price": 98.0, "split_above": 100.0, "split_to": 66.0}, lives_on=True),
    6: Role({"price": 2.2, "vol": 1.3, "shares": 4e7, "pays": 0.0}, lives_on=True),
    27: Role({"split_above": inf}, lives_on=True, splits={200: (21, 20), 452: (21, 20)}),
    26: Role(
        {"pays": 0.03, "split_above": inf, "price": 90.0},
        lives_on=True,
        pays_at=116,
        splits={116: (2, 1), 431: (3, 2)},
    ),
    # distributions
    7: Role(lives_on=True, specials={150: 0.30, 410: 0.08}),
    8: Role({"price": 80.0, "vol": 0.3}, lives_on=True, spins_off_at=260),
    9: Role({"sec_type": "adr", "currency": "EUR", "pays": 0.03}, lives_on=True),
    # trading
    11: Role({"vol": 0.8}, lives_on=True, jumps={350 + k: size for k, size in enumerate(_SQUEEZE)}),
    12: Role(lives_on=True, halts={180: 9, 700: 14}, jumps={189: -0.30}),
    13: Role({"quiet_days": 0.2}, lives_on=True),
    # names and codes
    1: Role(lives_on=True, renamed_at=(280,)),
    29: Role(lives_on=True, renamed_at=(200, 440)),
    25: Role(lives_on=True, renamed_at=(380,), code_moves_at=380),
    28: Role(lives_on=True, renamed_at=(420,), later_listings=(420,), heir_at=420),
    30: Role(lives_on=True, redomiciled_at=230),
    10: Role({"dual_class": True}, lives_on=True),
    16: Role({"ticker": "NA"}, lives_on=True),
    17: Role({"ticker": "TRUE"}, lives_on=True),
    18: Role({"ticker": "ON"}),
    19: Role({"ticker": "NULL"}),
    15: Role(lives_on=True, reclassified_at=310),
    31: Role(lives_on=True, reclassified_at=150),
    24: Role(lives_on=True, later_listings=(100, 260)),
    # endings
    2: Role({"end": "cash_merger"}, ends_at=220, later_listings=(245,), heir_at=245, heir_shares_code=True),
    20: Role({"end": "cash_merger"}, ends_at=600, later_listings=(601,), heir_at=601),
    3: Role({"end": "stock_merger"}, ends_at=330),
    4: Role({"end": "exchange_drop", "exchange": "NASDAQ"}, ends_at=400),
    23: Role({"end": "exchange_drop", "exchange": "NYSE"}, ends_at=520),
    5: Role({"end": "bankruptcy"}, ends_at=500),
    21: Role({"end": "liquidation"}, ends_at=450),
    22: Role({"end": "voluntary"}, ends_at=470),
}
