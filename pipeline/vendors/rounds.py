"""Rounds of requests: what one batch has asked, and the first part of a plan that still has something to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipeline.landing.fetcher import Bundle
from pipeline.landing.requests import SETTLED, Line, Request
from pipeline.vendors.contract import Landed, Need


class Rounds:
    """The requests of one need, on what is landed. A plan is a class of its vendor with the parts as methods."""

    def __init__(self, need: Need, landed: Landed) -> None:
        self.need, self.landed = need, landed
        lines = [line for line in landed.lines if line.batch_id == need.batch_id]
        self.asked: dict[tuple[str, int], Line] = {(line.request_key, line.nth): line for line in lines}

    def is_settled(self, request: Request) -> bool:
        """Whether a request needs no asking: it has its answer, or this fetch has tried."""
        line = self.asked.get((request.key, request.nth))
        return line is not None and (line.answer in SETTLED or line.requested_at >= self.need.since)

    def first_open(self, parts: Iterable[Callable[[], list[Bundle]]]) -> list[Bundle]:
        """The bundles of the first part with a request that is not settled; [] when nothing is left."""
        for part in parts:
            todo = [bundle for bundle in part() if not all(self.is_settled(request) for request in bundle)]
            if todo:
                return todo
        return []
