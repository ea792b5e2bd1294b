"""Rounds of requests: what one batch has asked, and the first part of a plan that still has something to ask."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property

from pipeline.landing.fetcher import Bundle
from pipeline.landing.requests import PROMOTED, SETTLED, SETTLED_TONIGHT, Class, Line, Request
from pipeline.vendors.contract import BACKFILL, Landed, Need

WEEK = 7
"""Lists of everything that is listed now are read anew after so many days."""


class Rounds:
    """The requests of one need, on what is landed. A plan is a class of its vendor with the parts as methods."""

    def __init__(self, need: Need, landed: Landed) -> None:
        self.need, self.landed = need, landed
        batch = need.batch_id
        lines = [line for line in landed.lines if line.batch_id == batch]
        self.asked: dict[tuple[str, int], Line] = {(line.request_key, line.nth): line for line in lines}

    def is_settled(self, request: Request) -> bool:
        """Whether a request needs no asking: it has its answer, or this fetch has tried."""
        line = self.asked.get((request.key, request.nth))
        settled = SETTLED if self.need.kind == BACKFILL else SETTLED_TONIGHT
        return line is not None and (line.answer in settled or line.requested_at >= self.need.since)

    def is_answered(self, request: Request, since: str = "") -> bool:
        """Whether any batch has its answer, received at `since` or later. "Not found" is one when said in two batches:
        what is missing today may be there tomorrow."""
        lines = [line for line in self._by_key.get(request.key, ()) if line.received_at >= since]
        absent = {line.batch_id for line in lines if line.answer is Class.NOT_FOUND}
        return len(absent) > 1 or any(line.answer in PROMOTED for line in lines)

    @cached_property
    def _by_key(self) -> dict[str, list[Line]]:
        found: dict[str, list[Line]] = {}
        for line in self.landed.lines:
            found.setdefault(line.request_key, []).append(line)
        return found

    def lately(self, endpoint: str) -> bool:
        """Whether an earlier batch read what stands for a week in the week before."""
        read = [line.received_at[:10] for line in self.landed.of(endpoint) if line.batch_id != self.need.batch_id]
        return bool(read) and (self.need.end - dt.date.fromisoformat(max(read))).days < WEEK - 1

    def again(self, request: Request) -> Request | None:
        """A request whose answers so far were not what is waited for, once more; None while this fetch has asked."""
        own = [line for (key, _), line in self.asked.items() if key == request.key]
        if any(line.requested_at >= self.need.since for line in own):
            return None
        return replace(request, nth=1 + sum(line.answer in SETTLED_TONIGHT for line in own))

    def first_open(self, parts: Iterable[Callable[[], list[Bundle]]]) -> list[Bundle]:
        """The bundles of the first part with a request that is not settled; [] when nothing is left."""
        for part in parts:
            todo = [bundle for bundle in part() if not all(self.is_settled(request) for request in bundle)]
            if todo:
                return todo
        return []
