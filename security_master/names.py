"""Canonical forms of what vendors spell differently: tickers, company names, exchanges."""

from __future__ import annotations

import re
from functools import cache

_SEPARATORS = re.compile(r"[\s./\-_^]+")
_SUFFIXES = {
    "UN": "U",
    "UT": "U",
    "UNIT": "U",
    "WT": "WS",
    "WTS": "WS",
    "W": "W",
    "RT": "R",
    "RTS": "R",
    "CL.A": "A",
    "CL.B": "B",
    "CL.C": "C",
}
_PREFERRED = re.compile(r"PR?\.?([A-Z])(?<!^PR)")
_LEGAL_WORDS = frozenset(
    {
        "AG",
        "CL",
        "CLASS",
        "CO",
        "COMMON",
        "COMPANY",
        "CORP",
        "CORPORATION",
        "GROUP",
        "HOLDING",
        "HOLDINGS",
        "INC",
        "INCORPORATED",
        "LIMITED",
        "LLC",
        "LP",
        "LTD",
        "NEW",
        "NV",
        "ORD",
        "PLC",
        "SA",
        "SHARES",
        "STOCK",
        "THE",
    }
)
_OTC = frozenset(
    {"EXPERT", "GREY", "OOTC", "OTC", "OTCBB", "OTCGREY", "OTCMKTS", "OTCQB", "OTCQX", "PINK", "PINX", "US-OTC"}
)
_US = frozenset(
    {
        "AMEX",
        "ARCA",
        "ARCX",
        "BATS",
        "CBOE",
        "IEX",
        "LTSE",
        "NASDAQ",
        "NCM",
        "NGM",
        "NMS",
        "NYSE",
        "NYSEARCA",
        "NYSEMKT",
        "US",
        "XASE",
        "XCHI",
        "XNAS",
        "XNYS",
    }
)


def canonical_ticker(text: str) -> str:
    """`brk-b`, `BRK/B`, `BRK B` -> `BRK.B`; `BAC-PL`, `BAC^L` -> `BAC.PRL`; `XYZ-WT` -> `XYZ.WS`. "" stays ""."""
    return text if text.isalpha() and text.isascii() and text.isupper() else _canonical(text)


@cache
def _canonical(text: str) -> str:
    upper = text.strip().upper()
    preferred = "^" in upper
    root, *rest = [part for part in _SEPARATORS.split(upper) if part] or [""]
    if not rest:
        return root
    suffix = ".".join(rest)
    suffix = _SUFFIXES.get(suffix, suffix)
    if preferred and len(suffix) == 1:
        suffix = "PR" + suffix
    elif match := _PREFERRED.fullmatch(suffix):
        suffix = "PR" + match[1]
    return f"{root}.{suffix}"


@cache
def comparable_name(text: str) -> str:
    """A company name without punctuation and legal words, for comparing; "" when nothing is left."""
    words = re.sub(r"[^A-Z0-9 ]", " ", text.upper().replace("&", " AND ")).split()
    return " ".join(word for word in words if word not in _LEGAL_WORDS) or " ".join(words)


@cache
def company_of(text: str) -> str:
    """`comparable_name` without the letter of a class: Alphabet Inc. Class A and Class C are of one company.

    >>> company_of("Alphabet Inc. Class A") == company_of("ALPHABET INC-CL C"), company_of("Visa Inc.")
    (True, 'VISA')
    """
    words = comparable_name(text).split()
    return " ".join(words[:-1] if len(words) > 1 and len(words[-1]) == 1 else words)


@cache
def market_of(exchange: str) -> str:
    """`US` for the listed US market (one ticker, one security), `US-OTC`, or the exchange itself elsewhere."""
    name = exchange.strip().upper().replace(" ", "")
    if name == "" or name in _US:
        return "US"
    return "US-OTC" if name in _OTC else name


def trading_mode(sec_type: str, market: str) -> str:
    if sec_type == "when_issued":
        return "when_issued"
    return "otc" if market == "US-OTC" else "regular"


def cusip_of_isin(isin: str) -> str:
    """The CUSIP inside a US or Canadian ISIN, else ""."""
    return isin[2:11] if len(isin) == 12 and isin[:2] in ("US", "CA") else ""
