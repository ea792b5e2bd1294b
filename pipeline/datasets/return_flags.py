"""Codes of `ds_daily.return_flag`: how a return was made, or why there is none.

`0` says nothing: the security was not listed (before its first session, or after its delisting return). Codes below
`FIRST_MISSING` accompany a number; codes from `FIRST_MISSING` on accompany NaN. A code is never given a new meaning.
"""

from __future__ import annotations

from enum import IntEnum


class ReturnFlag(IntEnum):
    """int16 codes; the member names in lower case are the `flag_meanings` of the store."""

    NOT_LISTED = 0

    ORDINARY = 1
    WITH_EVENTS = 2
    OVER_GAP = 3
    VENDOR_RATIO = 4
    VENDOR_RATIO_OVER_GAP = 5
    DELISTING = 6
    DELISTING_IMPUTED = 7
    EXTREME_KEPT = 8
    EVENT_MOVED = 9
    RELEASED = 10

    NO_PRICE = 32
    FIRST_SESSION = 33
    GAP_TOO_LONG = 34
    NOT_COMPARABLE = 35
    NO_FX_RATE = 36
    NO_SPIN_OFF_VALUE = 37
    REJECTED_PRICE = 38
    BAD_PRINT = 39
    STALE_PRICE = 40
    MISSING_SPLIT = 41
    EVENT_CONFLICT = 42
    LEVEL_BREAK = 43
    BATCH_FAULT = 44
    WITHHELD = 45


FIRST_MISSING = 32

MEANINGS: dict[ReturnFlag, str] = {
    ReturnFlag.NOT_LISTED: "not listed: before the first session, or after the delisting return",
    ReturnFlag.ORDINARY: "close to close, no event between",
    ReturnFlag.WITH_EVENTS: "close to close, with the events between (splits, dividends, spin-offs)",
    ReturnFlag.OVER_GAP: "from the last valid close, across sessions without one; events between included",
    ReturnFlag.VENDOR_RATIO: "ratio of the vendor's back-adjusted closes, because a raw close is missing",
    ReturnFlag.VENDOR_RATIO_OVER_GAP: "ratio of the vendor's back-adjusted closes across sessions without a price",
    ReturnFlag.DELISTING: "delisting return from the consideration paid or the first price after removal",
    ReturnFlag.DELISTING_IMPUTED: "delisting return imputed from the reason, no consideration known",
    ReturnFlag.EXTREME_KEPT: "beyond the outlier bound, no sign of a fault: kept as it is",
    ReturnFlag.EVENT_MOVED: "made with an event that the prices put on a neighbouring session",
    ReturnFlag.RELEASED: "was quarantined, released by a person",
    ReturnFlag.NO_PRICE: "listed, but no price this session (halt, or the vendor has no bar)",
    ReturnFlag.FIRST_SESSION: "first price of the security: no earlier one to compare with",
    ReturnFlag.GAP_TOO_LONG: "last valid price is more than max_gap sessions ago",
    ReturnFlag.NOT_COMPARABLE: "one end has only a raw close, the other only a back-adjusted one",
    ReturnFlag.NO_FX_RATE: "a dividend in a foreign currency without an exchange rate",
    ReturnFlag.NO_SPIN_OFF_VALUE: "a spin-off whose child has neither a close nor a stated value",
    ReturnFlag.REJECTED_PRICE: "the price cannot be true (zero, negative, infinite, sentinel)",
    ReturnFlag.BAD_PRINT: "the price is quarantined as a bad print",
    ReturnFlag.STALE_PRICE: "the price is a repetition without trading (stale tail)",
    ReturnFlag.MISSING_SPLIT: "the move looks like a split that the events do not have",
    ReturnFlag.EVENT_CONFLICT: "the move contradicts the event of the session (applied twice, wrong ratio or date)",
    ReturnFlag.LEVEL_BREAK: "the price stays at an impossible level, not long enough yet to be believed",
    ReturnFlag.BATCH_FAULT: "the session's delivery is quarantined as a whole",
    ReturnFlag.WITHHELD: "withheld by a person",
}
