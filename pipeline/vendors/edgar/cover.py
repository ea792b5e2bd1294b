"""Counts by share class, from the inline XBRL on a filing's cover."""

from __future__ import annotations

import datetime as dt
import html
import re
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

_CONTEXT = re.compile(r"<(?:\w+:)?context\b[^>]*\bid=\"([^\"]+)\"[^>]*>(.*?)</(?:\w+:)?context>", re.S)
_MEMBER = re.compile(
    r"<\w+:explicitMember[^>]*dimension=\"us-gaap:StatementClassOfStockAxis\"[^>]*>\s*([^<\s]+)\s*<", re.S
)
_INSTANT = re.compile(r"<(?:\w+:)?instant>\s*(\d{4}-\d{2}-\d{2})\s*<")
_FACT = re.compile(r"<ix:(nonNumeric|nonFraction)\b([^>]*)>(.*?)</ix:\1>", re.S)
_ATTRIBUTE = re.compile(r"(\w+)=\"([^\"]*)\"")
_TAG = re.compile(r"<[^>]+>")


class ClassCount(NamedTuple):
    """member: the class, "" for the only one. symbol: as listed, "" for a class without one; title: of the security."""

    member: str
    symbol: str
    title: str
    shares: Decimal
    end: dt.date


def parse_cover(body: bytes) -> list[ClassCount]:
    """The classes of a cover with their counts. Classes that are not listed have no symbol.

    A symbol belongs to the class whose context it stands in; without one, to the class whose title names it.
    """
    page = body.decode("utf-8", "replace")
    members, instants = {}, {}
    for name, inner in _CONTEXT.findall(page):
        found_member = _MEMBER.search(inner)
        members[name] = found_member.group(1) if found_member else ""
        moment = _INSTANT.search(inner)
        if moment:
            instants[name] = dt.date.fromisoformat(moment.group(1))
    symbols: dict[str, str] = {}
    titles: dict[str, str] = {}
    counted: list[tuple[str, Decimal, dt.date]] = []
    for _, attributes, inner in _FACT.findall(page):
        said = dict(_ATTRIBUTE.findall(attributes))
        name, context = said.get("name", ""), said.get("contextRef", "")
        value = " ".join(html.unescape(_TAG.sub("", inner)).split())
        if name == "dei:TradingSymbol" and context in members:
            symbols.setdefault(members[context], value)
        elif name == "dei:Security12bTitle" and context in members:
            titles.setdefault(members[context], value)
        elif name == "dei:EntityCommonStockSharesOutstanding" and context in instants:
            number = _number(value, said)
            if number is not None:
                counted.append((members[context], number, instants[context]))
    found = {member: ClassCount(member, symbols.get(member, ""), titles.get(member, ""), shares, end)
             for member, shares, end in counted}  # fmt: skip
    if len(found) == 1 and "" in found and not found[""].symbol and len(symbols) == 1:
        (member, symbol), *_ = symbols.items()
        found[""] = found[""]._replace(symbol=symbol, title=titles.get(member, ""))
    return list(found.values())


def _number(value: str, said: dict[str, str]) -> Decimal | None:
    """A number with its scale; a dash or a word is none."""
    digits = value.replace(",", "") if "comma-decimal" not in said.get("format", "") else value.replace(".", "")
    try:
        number = Decimal(digits.replace(",", ".")) * Decimal(10) ** int(said.get("scale") or 0)
    except InvalidOperation:
        return None
    return number if number > 0 else None
