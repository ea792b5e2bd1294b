"""What planning a night reads: each answer once in a process, however many rounds, and nothing when nothing is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.landing.requests import Line
from pipeline.landing.zone import LandingZone
from pipeline.vendors import layers
from pipeline.vendors.contract import Landed, name_of
from pipeline.vendors.eodhd import endpoints as ask
from pipeline.vendors.eodhd import histories
from pipeline.vendors.eodhd.delivered import Delivered
from tests.vendors.practice import Practice, morning_after, practice, session

LAST, NEXT = session(277), session(278)
KINDS = ("bodies", "histories", "days")


class Work:
    """How often an answer's body, the bars of a history and the rows of a day were read, and the parameters of any
    request; and in how many rounds."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.bodies, self.histories, self.days, self.parameters = (Counter[Any]() for _ in range(4))
        self.rounds = 0
        self._count(patch, LandingZone, "body", self.bodies, lambda zone, line: line.object)
        self._count(patch, histories, "_history", self.histories, lambda landed, line, *_: name_of(line))
        self._count(patch, Delivered, "_own_rows", self.days, lambda delivered, line: name_of(line))
        self._count(patch, ask, "parse_qs", self.parameters, lambda query: "")
        ask._span.cache_clear()
        landed = layers.landed

        def counted(*given: Any, **more: Any) -> Landed:
            self.rounds += 1
            return landed(*given, **more)

        patch.setattr("pipeline.vendors.fetching.landed", counted)

    def _count(
        self, patch: pytest.MonkeyPatch, owner: Any, name: str, counts: Counter[Any], key: Callable[..., Any]
    ) -> None:
        real = getattr(owner, name)

        def counted(*given: Any) -> Any:
            counts[key(*given)] += 1
            return real(*given)

        patch.setattr(owner, name, counted)

    def begin(self) -> None:
        """As a process that has just started, with what earlier ones have parsed."""
        layers.DOCUMENTS.clear()
        layers.MADE.clear()
        self.reset()

    def reset(self) -> None:
        for counts in (self.bodies, self.histories, self.days, self.parameters):
            counts.clear()
        self.rounds = 0

    def often(self, landed: list[Line]) -> dict[str, float]:
        """By kind of reading, how often the answer that was read most was read, where that is more than once; of
        parameters the mean over all requests."""
        found = {name: max(counts.values(), default=0) for name, counts in vars(self).items() if name in KINDS}
        found["parameters"] = self.parameters[""] / len({line.request_key for line in landed})
        return {name: times for name, times in found.items() if times > 1}


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    root = tmp_path_factory.mktemp("work") / "root"
    with practice(root, morning_after(LAST), sources=("eodhd", "edgar"), fetching={"names": ("BIDE", "TEXA")}) as made:
        assert made.backfill(LAST)["eodhd"].failed == {}
        made.source().load()
        yield made


def lines(vendor: Practice) -> list[Line]:
    return LandingZone(vendor.settings.raw_root).lines(source="eodhd")


def test_a_night_reads_each_answer_once_and_again_only_what_is_new(
    vendor: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(monkeypatch)
    work.begin()
    vendor.at(morning_after(NEXT))
    assert vendor.night(NEXT)["eodhd"].requests > 10
    assert work.rounds > 6
    landed = lines(vendor)
    assert len(work.histories) == sum(line.endpoint == ask.EOD for line in landed)
    assert len(work.bodies) < len(landed) / 2, "what earlier processes have parsed"
    vendor.source().load()
    assert work.often(landed) == {}
    work.reset()
    assert vendor.night(NEXT)["eodhd"].requests == 0
    assert work.rounds > 1
    assert (work.bodies, work.histories, work.days, work.parameters) == ({}, {}, {}, {})


def test_planning_that_reads_everything_again_would_be_seen(vendor: Practice, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch)

    def always(self: Landed, name: Any, made_of: Any, make: Callable[[], Any]) -> Any:
        return make()

    monkeypatch.setattr(Landed, "once", always)
    monkeypatch.setattr(ask, "_span", ask._span.__wrapped__)
    vendor.at(morning_after(session(279)))
    vendor.night(session(279))
    often = work.often(lines(vendor))
    assert min(often["histories"], often["days"], often["parameters"]) > 3
