"""Planned faults: what goes wrong with which request, how often.

A plan is a list of rules `{"match": "/eod/AAPL", "fault": "error_200", "times": 1, ...}`: the first `times` requests
whose path and parameters contain `match` go wrong so (with a `$` at its end: those that end with it). Nothing is drawn
by chance: a plan says it all.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

from security_master.errors import ExplainedError


class FaultUnknown(ExplainedError, ValueError):
    """A planned fault has no such name."""


NEW_YORK = ZoneInfo("America/New_York")


@dataclass
class Reply:
    """What goes over the wire. cut: send so many bytes of the body and close; length: a wrong Content-Length."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    length: int | None = None
    delay: float = 0.0


@dataclass
class Rule:
    """One line of a plan. times: how often, for ever with -1; skip: how many matching requests go right first."""

    match: str
    fault: str
    times: int = 1
    skip: int = 0
    argument: Any = None


QUOTA = b"You exceeded your daily API requests limit.  Please contact support@eodhistoricaldata.com"
HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
STATUSES: dict[str, tuple[int, bytes]] = {
    "401": (401, b"Unauthenticated"),
    "402": (402, QUOTA),
    "403": (403, b"Only EOD data allowed for free users. Please, contact support."),
    "403_agent": (
        403,
        b"<html><title>SEC.gov | Your Request Originates from an Undeclared Automated Tool</title></html>",
    ),
    "404": (404, b"Ticker Not Found."),
    "422": (422, b'{"errors":{"filter":["The filter is invalid."]}}'),
    "429": (429, b"<html>Too Many Requests</html>"),
    "500": (500, HTML),
    "502": (502, HTML),
    "503": (503, HTML),
    "xml_404": (404, b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"),
}


def refusal(name: str, wait: Any = None) -> Reply:
    """The page of a refusal in STATUSES. wait: what its `Retry-After` says, if anything."""
    status, body = STATUSES[name]
    return Reply(status, body, {"content-type": "text/html"} | ({"retry-after": str(wait)} if wait else {}))


class FaultPlan:
    """The rules that are left."""

    def __init__(self, rules: list[dict[str, Any]] | None = None) -> None:
        self._lock = threading.Lock()
        self._twins: set[str] = set()
        self.set(rules or [])

    def set(self, rules: list[dict[str, Any]]) -> None:
        """Replace the plan. Raises FaultUnknown."""
        made = [Rule(**rule) for rule in rules]
        for rule in made:
            if not any(rule.fault in kinds for kinds in KINDS):
                known = ", ".join(name for kinds in KINDS for name in kinds)
                raise FaultUnknown(f"fault {rule.fault!r} is not known; expected one of {known}")
        with self._lock:
            self.rules = made

    def plain(self, path: str) -> str:
        """The path of the same security under its own code, where `old_twin` gave it a second one."""
        for twin in self._twins:
            path = path.replace(f"/{twin}_old.", f"/{twin}.")
        return path

    def apply(self, asked: str, reply: Reply) -> tuple[Reply, str]:
        """The reply with the first rule that matches, and that rule's fault ("" for none)."""
        rule = self._take(asked)
        if rule is None:
            return reply, ""
        if rule.fault in STATUSES:
            return refusal(rule.fault, rule.argument), rule.fault
        if rule.fault in WHOLE:
            return WHOLE[rule.fault](reply, rule.argument), rule.fault
        try:
            rows: Any = json.loads(reply.body)
        except ValueError:
            rows = None
        if not rows or isinstance(rows, dict) != (rule.fault in FILES):
            rule.times += 1  # there is nothing that could go wrong so: the next one
            return reply, ""
        if rule.fault in FILES:
            return replace(reply, body=json.dumps(FILES[rule.fault](rows)).encode()), rule.fault
        if rule.fault == "old_twin":
            self._twins.add(str(rule.argument))
        return replace(reply, body=json.dumps(ROWS[rule.fault](rows, rule.argument)).encode()), rule.fault

    def _take(self, asked: str) -> Rule | None:
        with self._lock:
            for rule in self.rules:
                if rule.times != 0 and rule.match in f"{asked}$":
                    if rule.skip > 0:
                        rule.skip -= 1
                        continue
                    rule.times -= 1
                    return rule
        return None


Rows = list[dict[str, Any]]


def _partial(rows: Rows, share: Any) -> Rows:
    return rows[: int(len(rows) * float(share or 0.6))]


def _set(**values: Any) -> Callable[[Rows, Any], Rows]:
    return lambda rows, _: [{**row, **{k: v for k, v in values.items() if k in row}} for row in rows]


def _strings(rows: Rows, _: Any) -> Rows:
    return [{k: str(v) if isinstance(v, int | float) else v for k, v in row.items()} for row in rows]


def _spun(rows: Rows, factor: Any) -> Rows:
    """A raw history multiplied before its last tenth, without an event."""
    until, prices = len(rows) * 9 // 10, ("open", "high", "low", "close")
    scaled = [{**row, **{k: round(row[k] * float(factor or 0.89), 4) for k in prices}} for row in rows[:until]]
    return scaled + rows[until:]


def _shifted(rows: Rows, _: Any) -> Rows:
    return [{**row, "date": "2001-01-02"} for row in rows]


ROWS: dict[str, Callable[[Rows, Any], Rows]] = {
    "warning_row": lambda rows, _: [*rows, {"warning": "Data is limited by one year as you have free subscription"}],
    "warning_field": lambda rows, _: [{**row, "warning": "Data is limited by one year"} for row in rows],
    "duplicate_rows": lambda rows, _: [row for row in rows for _ in (0, 1)],
    "shuffled_rows": lambda rows, _: rows[1::2] + rows[0::2],
    "missing_day": lambda rows, day: [row for row in rows if row.get("date") != day],
    "string_numbers": _strings,
    "null_ohlc": lambda rows, _: [{**rows[0], "open": None, "high": None, "low": None, "close": None}, *rows[1:]],
    "float_volume": lambda rows, _: [{**row, "volume": row.get("volume", 0) + 0.1} for row in rows],
    "fractional_split": _set(split="1.684140/1.000000"),
    "wrong_ratio": lambda rows, ratio: [{**row, "split": ratio or "3.000000/1.000000"} for row in rows],
    "zero_date": lambda rows, _: [{**rows[0], "date": "0000-00-00"}, *rows[1:]],
    "stale_day": _shifted,
    "partial_bulk": _partial,
    "wrong_exchange_rows": lambda rows, _: [*rows, *({**row, "exchange_short_name": "F"} for row in rows[:50])],
    "spun_raw": _spun,
    "late_etfs": lambda rows, etfs: [row for row in rows if row.get("code") not in (etfs or [])],
    "old_twin": lambda rows, code: [
        *rows,
        *({**row, "Code": f"{code}_old"} for row in rows if row.get("Code") == code),
    ],
    "shape_changed": lambda rows, _: [{**row, "isin_code": "US0000000000"} for row in rows],
}


def _with(**values: Any) -> Callable[[Reply, Any], Reply]:
    return lambda reply, _: replace(reply, **values)


WHOLE: dict[str, Callable[[Reply, Any], Reply]] = {
    "delay": lambda reply, seconds: replace(reply, delay=float(seconds or 1)),
    "close_mid_body": lambda reply, _: replace(reply, cut=len(reply.body) // 2),
    "truncate_json": lambda reply, _: replace(reply, body=reply.body[: len(reply.body) // 2]),
    "gzip_corrupt": lambda reply, _: replace(
        reply, body=gzip.compress(reply.body)[:-8] + b"12345678", headers={**reply.headers, "content-encoding": "gzip"}
    ),
    "empty_200": _with(body=b"[]"),
    "error_200": _with(body=b'{"error":"internal"}'),
    "html_200": _with(body=HTML),
    "content_length_wrong": lambda reply, _: replace(reply, length=len(reply.body) + 100),
    "wrong_symbol_body": lambda reply, body: replace(reply, body=str(body or '{"General":{"Code":"ZZZZ"}}').encode()),
    "echo_secret": lambda reply, secret: replace(reply, body=reply.body[:-1] + f',{{"you":"{secret}"}}]'.encode()),
}


NOTES_ACCESSION = "9999999997-99-000025"
"""Of the Form 25 that `notes_form25` adds: the server has its text under this number for every issuer."""


def _flipped(value: dict[str, Any]) -> dict[str, Any]:
    """Acceptance times in UTC instead of on New York's clock."""
    recent = value["filings"]["recent"]
    local = [dt.datetime.fromisoformat(said[:19]).replace(tzinfo=NEW_YORK) for said in recent["acceptanceDateTime"]]
    recent["acceptanceDateTime"] = [f"{at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S}.000Z" for at in local]
    return value


def _thousands(value: dict[str, Any]) -> dict[str, Any]:
    """Counts of the latest filing in thousands."""
    for tags in value["facts"].values():
        for tag in tags.values():
            rows = tag["units"]["shares"]
            for row in rows:
                row["val"] //= 1000 if row["accn"] == rows[-1]["accn"] else 1
    return value


def _with_notes(value: dict[str, Any]) -> dict[str, Any]:
    """One more filing: a Form 25 for notes, on the day of the latest one."""
    recent = value["filings"]["recent"]
    for column in recent.values():
        column.insert(0, column[0])
    recent["accessionNumber"][0], recent["form"][0] = NOTES_ACCESSION, "25-NSE"
    recent["primaryDocument"][0] = "primary_doc.xml"
    return value


FILES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "clock_flip": _flipped,
    "thousands": _thousands,
    "notes_form25": _with_notes,
}
"""What goes wrong in an issuer's file."""
KINDS: tuple[Mapping[str, Any], ...] = (STATUSES, WHOLE, ROWS, FILES)
