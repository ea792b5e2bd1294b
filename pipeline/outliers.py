"""What an outlying return is: an event that explains it, a fault in the data, or a genuine move.

`judge` looks at one security over a short window that ends at the session to publish, as it was known then, and walks
it from a clean start. Because the judgement is a function of that window alone, it is the same in a nightly run and in
a backfill, and nothing later can change it. A fault that shows only afterwards (a price that comes back) is found at
the later session: the faulty close is no base for the return of that session, and the finding names both sessions.

A fault never becomes a number: the cell is missing with a flag, or keeps its value with one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, inf, isfinite, log
from typing import NamedTuple

from pipeline.return_flags import ReturnFlag


@dataclass(frozen=True)
class OutlierRules:
    """Bounds of the return rules. Log units where not said otherwise.

    jump, sigmas:     a move is outlying beyond max(jump, sigmas * robust scale of the last 60 returns)
    impossible:       price factor in one step that no stock makes; the bar is a bad print at once
    reversal:         how near the price must come back to the level before an outlying move
    reversal_sessions: within how many sessions
    split_tolerance:  distance to a customary split ratio that makes a move look like a missing split; widened to
                      `split_sigmas` robust scales (at most `split_widest`) when the volume fits a split too
    volume_factor:    the volume fits when it is within this factor of the volume before times the ratio
    misdated:         sessions by which an event may be misdated
    level_sessions:   sessions at a broken level after which it is the level
    """

    jump: float = 0.5
    sigmas: float = 12.0
    impossible: float = 50.0
    reversal: float = 0.05
    reversal_sessions: int = 10
    split_tolerance: float = 0.02
    split_sigmas: float = 3.0
    split_widest: float = 0.12
    volume_factor: float = 2.5
    misdated: int = 2
    level_sessions: int = 3

    def window(self, max_gap: int) -> int:
        """Sessions before the judged one that can matter."""
        return self.reversal_sessions + max_gap + 1


SPLIT_RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0)
CUSTOMARY = tuple(sorted(SPLIT_RATIOS + tuple(1 / s for s in SPLIT_RATIOS)))


class Walked(NamedTuple):
    """Events between two sessions for one share: `num/den` shares, `cash`, how many, the split factor, a problem."""

    num: float
    den: float
    cash: float
    events: int
    splits: bool
    problem: int


class Finding(NamedTuple):
    """One thing that a rule says about `session` (index into the window)."""

    session: int
    rule: str
    outcome: str
    observed: float
    expected: float
    evidence: str


class Judgement(NamedTuple):
    ret: float
    flag: ReturnFlag
    findings: list[Finding]


class Window(NamedTuple):
    """One security up to the judged session, which is the last element, as known at that session.

    close, vendor_close, volume: lists of float, NaN for none (a bar that was rejected has neither close)
    scale:  robust scale of the returns before each session, 0 where unknown
    verdict: a person's decision per index: "release" or "confirm"
    walk:   events with ex in (after, upto], as known at the judged session
    """

    close: list[float]
    vendor_close: list[float]
    volume: list[float]
    scale: list[float]
    verdict: dict[int, str]
    walk: Callable[[int, int], Walked]


class _Suspect(NamedTuple):
    """An outlying step that was let through or set aside: at `index`, from `base`."""

    index: int
    base: int


class _Walker:
    """The state of the walk; `step` judges one session after the other."""

    def __init__(self, window: Window, rules: OutlierRules, max_gap: int) -> None:
        self.w, self.rules, self.max_gap = window, rules, max_gap
        self.base = -1
        self.suspects: list[_Suspect] = []
        self.waiting: list[tuple[int, float]] = []  # events that the price did not follow (session, ratio)
        self.missed: list[tuple[int, float]] = []  # moves that look like a split without an event (session, ratio)
        self.set_aside: list[int] = []  # bars in a row that cannot be

    def step(self, u: int) -> Judgement:
        if self.w.verdict.get(u) != "confirm":
            return self._judge(u)
        before = (self.base, [*self.suspects], [*self.waiting], [*self.missed], [*self.set_aside])
        judgement = self._judge(u)
        if isfinite(judgement.ret):  # a person says that this cell is wrong: its close is no price
            self.base, self.suspects, self.waiting, self.missed, self.set_aside = before
            judgement = Judgement(float("nan"), ReturnFlag.WITHHELD, [])
        return judgement

    def _judge(self, u: int) -> Judgement:
        w, base = self.w, self.base
        has_close, has_vendor = isfinite(w.close[u]), isfinite(w.vendor_close[u])
        if not (has_close or has_vendor):
            return Judgement(float("nan"), ReturnFlag.NO_PRICE, [])
        if base < 0 or u - base > self.max_gap:
            self.base, self.set_aside = u, []
            return Judgement(float("nan"), ReturnFlag.GAP_TOO_LONG, [])
        if has_close and isfinite(w.close[base]):
            return self._from_closes(u, base)
        self.base = u
        if has_vendor and isfinite(w.vendor_close[base]):
            flag = ReturnFlag.VENDOR_RATIO if u - base == 1 else ReturnFlag.VENDOR_RATIO_OVER_GAP
            return Judgement(w.vendor_close[u] / w.vendor_close[base] - 1.0, flag, [])
        return Judgement(float("nan"), ReturnFlag.NOT_COMPARABLE, [])

    def _from_closes(self, u: int, base: int) -> Judgement:
        w, rules = self.w, self.rules
        walked = w.walk(base, u)
        factor = _factor(w.close[base], w.close[u], walked)
        flag = ReturnFlag.OVER_GAP if u - base > 1 else _plain_flag(walked)
        if walked.problem:
            self.base = u
            return Judgement(float("nan"), ReturnFlag(walked.problem), [])
        if w.verdict.get(u) == "release":
            self.base, self.set_aside = u, []
            return Judgement(factor - 1.0, ReturnFlag.RELEASED, [])
        bound = max(rules.jump, rules.sigmas * w.scale[u])
        move = _log(factor)
        if abs(move) <= bound:
            self.base, self.set_aside = u, []
            return Judgement(factor - 1.0, flag, [])
        return self._outlying(u, base, walked, factor, bound)

    def _outlying(self, u: int, base: int, walked: Walked, factor: float, bound: float) -> Judgement:
        for explain in (self._comes_back, self._contradicts_split, self._moved_event, self._impossible, self._missing):
            judgement = explain(u, base, walked, factor, bound)
            if judgement is not None:
                return judgement
        self.suspects.append(_Suspect(u, base))
        self.base, self.set_aside = u, []
        finding = Finding(u, "extreme_return", "flag", factor - 1.0, exp(bound) - 1.0, "no sign of a fault, kept")
        return Judgement(factor - 1.0, ReturnFlag.EXTREME_KEPT, [finding])

    def _comes_back(self, u: int, base: int, walked: Walked, factor: float, bound: float) -> Judgement | None:
        """The price is back where it was before an outlying step: what lies between was a bad print."""
        w, rules = self.w, self.rules
        for suspect in reversed(self.suspects):
            if u - suspect.index > rules.reversal_sessions or u - suspect.base > self.max_gap:
                continue
            whole = w.walk(suspect.base, u)
            back = _factor(w.close[suspect.base], w.close[u], whole)
            if whole.problem or abs(_log(back)) > rules.reversal:
                continue
            findings = [
                Finding(
                    k,
                    "bad_print",
                    "quarantine",
                    w.close[k],
                    w.close[suspect.base],
                    f"close left {w.close[suspect.base]:g} and came back to {w.close[u]:g} {u - k} sessions later",
                )
                for k in range(suspect.index, u)
                if isfinite(w.close[k])
            ]
            self.suspects = [s for s in self.suspects if s.index < suspect.index]
            self.base, self.set_aside = u, []
            return Judgement(back - 1.0, ReturnFlag.OVER_GAP, findings)
        return None

    def _contradicts_split(self, u: int, base: int, walked: Walked, factor: float, bound: float) -> Judgement | None:
        """A split of the session does not fit the price: misdated, applied twice, or the wrong ratio."""
        if not walked.splits:
            return None
        w, rules = self.w, self.rules
        ratio = walked.num / walked.den
        without = (w.close[u] + walked.cash) / w.close[base]
        self.base, self.set_aside = u, []
        if abs(_log(without)) <= bound:
            for k, missed in self.missed:
                if u - k <= rules.misdated and abs(_log(missed / ratio)) < rules.split_widest:
                    self.missed.remove((k, missed))
                    evidence = f"split {ratio:g} dated {u - k} sessions after the price followed it; not applied again"
                    finding = Finding(u, "misdated_split", "flag", factor - 1.0, without - 1.0, evidence)
                    return Judgement(without - 1.0, ReturnFlag.EVENT_MOVED, [finding])
            self.waiting.append((u, ratio))
            evidence = f"split {ratio:g} is delivered but the close did not follow it"
            rule = "split_not_in_price"
        else:
            evidence = f"with split {ratio:g} the move is {factor - 1:+.2%}, without it {without - 1:+.2%}"
            rule = "split_ratio_contradicted"
        finding = Finding(u, rule, "quarantine", factor - 1.0, without - 1.0, evidence)
        return Judgement(float("nan"), ReturnFlag.EVENT_CONFLICT, [finding])

    def _moved_event(self, u: int, base: int, walked: Walked, factor: float, bound: float) -> Judgement | None:
        """The move is the split that the price did not follow a session or two ago."""
        for k, ratio in self.waiting:
            if u - k <= self.rules.misdated and abs(_log(factor * ratio)) <= bound:
                self.waiting.remove((k, ratio))
                self.base, self.set_aside = u, []
                evidence = f"split {ratio:g} dated {u - k} sessions before the price followed it; applied here"
                finding = Finding(u, "misdated_split", "flag", factor - 1.0, factor * ratio - 1.0, evidence)
                return Judgement(factor * ratio - 1.0, ReturnFlag.EVENT_MOVED, [finding])
        return None

    def _impossible(self, u: int, base: int, walked: Walked, factor: float, bound: float) -> Judgement | None:
        """No stock moves by such a factor: the bar is set aside, unless the level holds."""
        w, rules = self.w, self.rules
        if 1 / rules.impossible < factor < rules.impossible:
            return None
        nan = float("nan")
        self.set_aside.append(u)
        if len(self.set_aside) >= rules.level_sessions:
            level = [w.close[k] for k in self.set_aside]
            before = self.set_aside[-2]
            step = _factor(w.close[before], w.close[u], w.walk(before, u))
            if max(level) / min(level) < exp(bound):
                self.base, self.set_aside = u, []
                evidence = f"the close stays near {w.close[u]:g}, {factor:g} times the level before: taken as the level"
                finding = Finding(u, "level_break", "flag", w.close[u], w.close[base], evidence)
                return Judgement(step - 1.0, ReturnFlag.ORDINARY, [finding])
        evidence = f"close {w.close[u]:g} after {w.close[base]:g}: a factor of {factor:.4g} in one step"
        finding = Finding(u, "bad_print", "quarantine", w.close[u], w.close[base], evidence)
        return Judgement(nan, ReturnFlag.BAD_PRINT, [finding])

    def _missing(self, u: int, base: int, walked: Walked, factor: float, bound: float) -> Judgement | None:
        """The move is a customary split ratio and no event says so."""
        w, rules = self.w, self.rules
        ratio = min(CUSTOMARY, key=lambda s: abs(_log(factor * s)))
        distance = abs(_log(factor * ratio))
        widest = max(rules.split_tolerance, min(rules.split_sigmas * w.scale[u], rules.split_widest))
        volume = _volume_ratio(w.volume, u)
        fits = 1 / rules.volume_factor <= volume / ratio <= rules.volume_factor
        if distance > widest or not (fits or (distance <= rules.split_tolerance and not isfinite(volume))):
            return None
        self.suspects.append(_Suspect(u, base))
        self.missed.append((u, ratio))
        self.base, self.set_aside = u, []
        evidence = f"close times {factor:.4g}, volume times {volume:.3g}, no event: looks like a split {ratio:g}"
        finding = Finding(u, "missing_split", "quarantine", factor - 1.0, factor * ratio - 1.0, evidence)
        return Judgement(float("nan"), ReturnFlag.MISSING_SPLIT, [finding])


def judge(window: Window, rules: OutlierRules, max_gap: int) -> Judgement:
    """The return of the window's last session, with the findings that are made at that session."""
    walker = _Walker(window, rules, max_gap)
    judgement = Judgement(float("nan"), ReturnFlag.NO_PRICE, [])
    for u in range(len(window.close)):
        judgement = walker.step(u)
    return judgement


def _plain_flag(walked: Walked) -> ReturnFlag:
    return ReturnFlag.WITH_EVENTS if walked.events else ReturnFlag.ORDINARY


def _factor(p0: float, p1: float, walked: Walked) -> float:
    """1 + return; the same operations in the same order as `returns.growth`."""
    return (p1 * walked.num / walked.den + walked.cash) / p0


def _log(factor: float) -> float:
    return log(factor) if factor > 0 else -inf


def _volume_ratio(volume: list[float], u: int) -> float:
    """Volume of a session over the median of the sessions before it; NaN when unknown."""
    before = sorted(v for v in volume[max(0, u - 20) : u] if v > 0)
    if not before or not volume[u] > 0:
        return float("nan")
    return volume[u] / before[len(before) // 2]
