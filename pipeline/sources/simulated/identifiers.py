"""Tickers and identifiers of the simulated companies, made from their numbers so that no two are alike."""

from __future__ import annotations

from pipeline.sources.cells import SourceError

MAX_SLOTS = 9_000
CLASS_B, SPUN_OFF = 800, 900
"""Generations of a second share class and of a spun-off company: these, plus the generation of who they come from."""

_CONSONANTS, _VOWELS = "BCDFGHJKLMNPQRSTVWXZ", "AEIOU"
_ETF_LIKE = {"PAVE"}


def tickers(slot: int, generation: int) -> tuple[str, str]:
    """(ticker at the listing, ticker after a change). Raises SourceError beyond MAX_SLOTS.

    Consonants and vowels take turns, and a slot's number is spread over all combinations. A later listing adds a
    letter, a second class ".B", a spun-off company "SP".
    """
    if not 0 <= slot < MAX_SLOTS:
        raise SourceError(f"tickers for slots 0 to {MAX_SLOTS - 1}, none for slot {slot}", "simulated market")
    spread = (slot * 7919 + 4321) % 10_000
    c1, v1 = _CONSONANTS[spread % 20], _VOWELS[spread // 20 % 5]
    c2, v2 = _CONSONANTS[spread // 100 % 20], _VOWELS[spread // 2000]
    kind, nth = generation // 100 * 100, generation % 100
    if nth > 0:
        suffix = chr(65 + (nth - 1) % 26) + "Z" * ((nth - 1) // 26)
    else:
        suffix = "Q" if c1 + v1 + c2 + v2 in _ETF_LIKE else ""
    suffix += {CLASS_B: ".B", SPUN_OFF: "SP"}.get(kind, "")
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
