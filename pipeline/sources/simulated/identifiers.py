"""Tickers and identifiers of the simulated companies, made from their numbers so that no two are alike."""

from __future__ import annotations

MAX_SLOTS = 9_000
CLASS_B, SPUN_OFF = 800, 900
"""Generation numbers of a slot's second share class and of the company that it spins off."""

_CONSONANTS, _VOWELS = "BCDFGHJKLMNPQRSTVWXZ", "AEIOU"
_ETF_LIKE = {"PAVE"}


def tickers(slot: int, generation: int) -> tuple[str, str]:
    """(ticker at the listing, ticker after a change). Raises ValueError beyond MAX_SLOTS.

    Consonants and vowels take turns, and a slot's number is spread over all combinations. A later listing adds a
    letter, a second class ".B", a spun-off company "SP".
    """
    if not 0 <= slot < MAX_SLOTS:
        raise ValueError(f"slot {slot}: the simulated market has tickers for slots 0 to {MAX_SLOTS - 1}")
    spread = (slot * 7919 + 4321) % 10_000
    c1, v1 = _CONSONANTS[spread % 20], _VOWELS[spread // 20 % 5]
    c2, v2 = _CONSONANTS[spread // 100 % 20], _VOWELS[spread // 2000]
    if generation == 0:
        suffix = "Q" if c1 + v1 + c2 + v2 in _ETF_LIKE else ""
    elif generation == CLASS_B:
        suffix = ".B"
    elif generation == SPUN_OFF:
        suffix = "SP"
    else:
        suffix = chr(65 + (generation - 1) % 26) + "Z" * ((generation - 1) // 26)
    return c1 + v1 + c2 + v2 + suffix, v1 + c1 + v2 + c2 + suffix


def isin(number: int, version: int) -> str:
    """A US ISIN with its check digit. version: counts the changes of a company's ISIN."""
    body = f"US{version % 10}{number:08d}"
    digits = "".join(str(int(symbol, 36)) for symbol in body)
    total = sum(int(d) if k % 2 else sum(divmod(2 * int(d), 10)) for k, d in enumerate(reversed(digits)))
    return f"{body}{-total % 10}"


def cik(issuer: int) -> str:
    return f"{issuer + 1_000_000:010d}"


def share_class_figi(number: int) -> str:
    return f"BBG{number:09d}"
