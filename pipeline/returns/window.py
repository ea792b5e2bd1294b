"""One security over the short window that ends at the session to publish, and the steps by which it is walked.

Everything here is a plain value. A rule gets the walk's state and a step, and gives back what it decided together with
the state after it, so that a decision can be taken back by keeping the state before.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf, isfinite, log, nan
from typing import NamedTuple

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.returns.total_return import Accrued, growth_factor
from pipeline.settings import OutlierRules


class Note(NamedTuple):
    """What a rule found at the judged session about element `at` of the window."""

    at: int
    rule: str
    observed: float
    expected: float
    evidence: str


class Judgement(NamedTuple):
    """A return (NaN for none), the flag of its cell, and what was found out while it was made."""

    ret: float
    flag: ReturnFlag
    notes: tuple[Note, ...] = ()


class Window(NamedTuple):
    """One security up to the judged session, the last element, as known at that session.

    close, vendor_close, volume: NaN for none (a rejected bar has neither close); volume 0 for no trade
    high, low: the range of the bar, NaN unknown
    doubtful: the close lies far outside the bar's own range
    scale:    robust size of the returns before an element, 0 where unknown
    verdict:  decisions of people by element: "release" or "confirm"
    accrue:   events with ex in (after, upto], elements; `upto` may lie beyond the window, as far as events are known
    """

    close: list[float]
    vendor_close: list[float]
    volume: list[float]
    high: list[float]
    low: list[float]
    doubtful: list[bool]
    scale: Callable[[int], float]
    verdict: dict[int, str]
    accrue: Callable[[int, int], Accrued]

    def volume_ratio(self, u: int, sessions: int) -> float:
        """Volume of an element over the median of up to `sessions` before it; NaN when unknown."""
        before = sorted(v for v in self.volume[max(0, u - sessions) : u] if v > 0)
        if not before or not self.volume[u] > 0:
            return nan
        return self.volume[u] / before[len(before) // 2]

    def doubted_before(self, u: int) -> bool:
        """Whether the bar before with a range was outside of it as well: the range is in another unit, and says
        nothing about closes."""
        for k in range(u - 1, -1, -1):
            if isfinite(self.close[k]) and isfinite(self.high[k] + self.low[k]):
                return self.doubtful[k]
        return False

    def tick(self, u: int, least: float) -> float:
        """Smallest step between two closes before an element that differ; never below `least`."""
        seen = sorted({close for close in self.close[:u] if isfinite(close)})
        steps = [after - before for before, after in pairwise(seen)]
        return max(min(steps, default=least), least)


class State(NamedTuple):
    """What a walk carries from one element to the next.

    base:       the last good close, -1 for none
    outlying:   (u, base) of outlying steps whose close was believed
    published:  those of them whose return was published as it is
    moves:      (u, log move) of steps without a material event
    waiting:    events that the price did not follow, with their element
    used_early: elements at which an event of the next sessions was used already
    set_aside:  bars in a row at an impossible level
    """

    base: int = -1
    outlying: tuple[tuple[int, int], ...] = ()
    published: tuple[tuple[int, int], ...] = ()
    moves: tuple[tuple[int, float], ...] = ()
    waiting: tuple[tuple[int, Accrued], ...] = ()
    used_early: tuple[int, ...] = ()
    set_aside: tuple[int, ...] = ()

    def accept(self, u: int, ret: float, flag: ReturnFlag, *notes: Note) -> Outcome:
        """The close of `u` is good: the next return starts there."""
        return Outcome(Judgement(ret, flag, notes), self._replace(base=u, set_aside=()))

    def refuse(self, flag: ReturnFlag, *notes: Note) -> Outcome:
        """The close is no price: the next return starts where this one would have."""
        return Outcome(Judgement(nan, flag, notes), self)


class Outcome(NamedTuple):
    """What a rule decided about a step, and the state after it."""

    judgement: Judgement
    state: State


class Step(NamedTuple):
    """One move between two closes: from element `base` to `u`, with the events between and without them.

    factor: close over close with the events; without: and without them; move: log of the factor
    """

    window: Window
    rules: OutlierRules
    u: int
    base: int
    accrued: Accrued
    factor: float
    without: float
    move: float

    @classmethod
    def between(cls, window: Window, base: int, u: int, rules: OutlierRules) -> Step:
        accrued, p0, p1 = window.accrue(base, u), window.close[base], window.close[u]
        factor = growth_factor(p0, p1, accrued)
        return cls(window, rules, u, base, accrued, factor, p1 / p0, safe_log(factor))

    @property
    def close(self) -> float:
        return self.window.close[self.u]

    @property
    def close_before(self) -> float:
        return self.window.close[self.base]

    @property
    def traded_share(self) -> float:
        """Share of the move that the bar's own range covers, 0 where it is not known.

        A high or low beyond both closes by `stray` is no price at which anybody traded: the close stands in for it.
        """
        high, low = self.window.high[self.u], self.window.low[self.u]
        if not isfinite(high + low) or not self.move or not isfinite(self.move):
            return 0.0
        bottom, top = sorted((self.close, self.close / self.factor))
        low = self.close if low * self.rules.stray < bottom else low
        high = self.close if high > top * self.rules.stray else high
        covered = safe_log(min(high, top) / max(low, bottom)) if min(high, top) > max(low, bottom) else 0.0
        return covered / abs(self.move)

    @property
    def effect(self) -> float:
        """By how much the events change the move."""
        return self.move - safe_log(self.without) if self.accrued.events else 0.0

    @property
    def scale(self) -> float:
        return self.window.scale(self.u)

    @property
    def bound(self) -> float:
        """Log move beyond which a step without a material event is outlying."""
        return max(self.rules.jump, self.rules.sigmas * self.scale)

    def with_events(self, accrued: Accrued) -> float:
        """The factor with other events than those between."""
        return growth_factor(self.close_before, self.close, accrued)

    def is_material(self, effect: float) -> bool:
        """Whether an event with this effect matters to the rules."""
        return abs(effect) >= self.rules.material and abs(effect) >= self.rules.material_sigmas * self.scale


def safe_log(factor: float) -> float:
    """Log of a price factor, -inf where it is not positive."""
    return log(factor) if factor > 0 else -inf
