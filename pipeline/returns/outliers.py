"""What an outlying return is: a move that an event explains, a fault in the data, or a genuine move.

`judge` looks at one security over a short window that ends at the session to publish, as it was known then, and walks
it from a clean start. Because the judgement is a function of that window alone, it is the same in a nightly run and in
a backfill, and nothing later can change it. A fault that shows only afterwards (a price that comes back) is found at
the later session: the faulty close is no base for the return of that session, and the finding names the faulty one.

A fault never becomes another number: the cell is missing with a flag, or keeps its value with one. The one thing that
is moved is an event that the price followed on a neighbouring session, and the cell says so.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, inf, isfinite, log, nan
from typing import NamedTuple

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.settings import OutlierRules


class Walked(NamedTuple):
    """Events between two sessions for one share: it became `num/den` shares and `cash`."""

    num: float = 1.0
    den: float = 1.0
    cash: float = 0.0
    events: int = 0
    splits: bool = False
    problem: int = 0


class Noted(NamedTuple):
    """What a rule found at the judged session about element `at` of the window."""

    at: int
    rule: str
    observed: float
    expected: float
    evidence: str


class Judgement(NamedTuple):
    ret: float
    flag: ReturnFlag
    notes: tuple[Noted, ...] = ()


class Window(NamedTuple):
    """One security up to the judged session, the last element, as known at that session.

    close, vendor_close, volume: NaN for none (a rejected bar has neither close); volume 0 for no trade
    spread:   log of high over low, NaN unknown
    doubtful: the close lies far outside the bar's own range
    scale:    robust size of the returns before an element, 0 where unknown
    verdict:  decisions of people by element: "release" or "confirm"
    walk:     events with ex in (after, upto], elements; `upto` may lie beyond the window, as far as events are known
    """

    close: list[float]
    vendor_close: list[float]
    volume: list[float]
    spread: list[float]
    doubtful: list[bool]
    scale: Callable[[int], float]
    verdict: dict[int, str]
    walk: Callable[[int, int], Walked]


def judge(window: Window, rules: OutlierRules, max_gap: int) -> Judgement:
    """The return of the window's last element, with what was found out at that session."""
    walker = _Walker(window, rules, max_gap)
    judgement = Judgement(nan, ReturnFlag.NO_PRICE)
    for u in range(len(window.close)):
        judgement = walker.step(u)
    return judgement


class _Step(NamedTuple):
    """One move between two closes: from element `base` to `u`, with the events between and without them."""

    u: int
    base: int
    walked: Walked
    factor: float
    without: float
    move: float
    scale_of: Callable[[int], float]

    @property
    def scale(self) -> float:
        return self.scale_of(self.u)

    @property
    def effect(self) -> float:
        """By how much the events change the move."""
        return self.move - _log(self.without) if self.walked.events else 0.0


class _Walker:
    """The state of the walk. `base` is the last good close."""

    def __init__(self, window: Window, rules: OutlierRules, max_gap: int) -> None:
        self.w, self.rules, self.max_gap = window, rules, max_gap
        self.base = -1
        self.outlying: list[tuple[int, int]] = []  # (u, base) of outlying steps whose close was believed
        self.moves: dict[int, float] = {}  # log moves of steps without a material event
        self.waiting: list[tuple[int, Walked]] = []  # events that the price did not follow
        self.used_early: list[int] = []  # elements at which an event of the next sessions was used already
        self.set_aside: list[int] = []  # bars in a row at an impossible level

    def step(self, u: int) -> Judgement:
        if self.w.verdict.get(u) != "confirm":
            return self._judge(u)
        before = self.base, [*self.outlying], dict(self.moves), [*self.waiting], [*self.used_early], [*self.set_aside]
        judgement = self._judge(u)
        if isfinite(judgement.ret):  # a person says that this cell is wrong: its close is no price
            self.base, self.outlying, self.moves, self.waiting, self.used_early, self.set_aside = before
            return Judgement(nan, ReturnFlag.WITHHELD)
        return judgement

    def _judge(self, u: int) -> Judgement:
        w, base = self.w, self.base
        has_close, has_vendor = isfinite(w.close[u]), isfinite(w.vendor_close[u])
        if not (has_close or has_vendor):
            return Judgement(nan, ReturnFlag.NO_PRICE)
        if base < 0 or u - base > self.max_gap:
            return self._accept(u, nan, ReturnFlag.GAP_TOO_LONG)
        if has_close and isfinite(w.close[base]):
            return self._from_closes(u, base)
        if has_vendor and isfinite(w.vendor_close[base]):
            return self._from_vendor(u, base)
        return self._accept(u, nan, ReturnFlag.NOT_COMPARABLE)

    def _accept(self, u: int, ret: float, flag: ReturnFlag, *notes: Noted) -> Judgement:
        """The close of `u` is good: the next return starts there."""
        self.base, self.set_aside = u, []
        return Judgement(ret, flag, notes)

    def _from_vendor(self, u: int, base: int) -> Judgement:
        w, rules = self.w, self.rules
        factor = w.vendor_close[u] / w.vendor_close[base]
        flag = ReturnFlag.VENDOR_RATIO if u - base == 1 else ReturnFlag.VENDOR_RATIO_OVER_GAP
        bound = max(rules.jump, rules.sigmas * w.scale(u))
        if abs(_log(factor)) <= bound or w.verdict.get(u) == "release":
            return self._accept(u, factor - 1.0, flag)
        if not 1 / rules.impossible < factor < rules.impossible:
            evidence = f"back-adjusted close {w.vendor_close[u]:g} after {w.vendor_close[base]:g}"
            note = Noted(u, "bad_print", w.vendor_close[u], w.vendor_close[base], evidence)
            return Judgement(nan, ReturnFlag.BAD_PRINT, (note,))
        note = Noted(u, "extreme_return", factor - 1.0, exp(bound) - 1.0, "from back-adjusted closes, kept")
        return self._accept(u, factor - 1.0, flag, note)

    def _from_closes(self, u: int, base: int) -> Judgement:
        w = self.w
        walked = w.walk(base, u)
        factor = _factor(w.close[base], w.close[u], walked)
        step = _Step(u, base, walked, factor, w.close[u] / w.close[base], _log(factor), w.scale)
        if walked.problem:
            return self._accept(u, nan, ReturnFlag(walked.problem))
        if w.verdict.get(u) == "release":
            return self._accept(u, step.factor - 1.0, ReturnFlag.RELEASED)
        if walked.cash > w.close[base]:
            note = Noted(u, "dividend_above_price", walked.cash, w.close[base], f"cash {walked.cash:g} in one step")
            return self._accept(u, nan, ReturnFlag.EVENT_CONFLICT, note)
        material = self._is_material(step, step.effect)
        judgement = self._material_event(step) if material else self._neighbouring_event(step)
        if judgement is None and w.doubtful[u]:
            judgement = self._outside_own_range(step)
        if judgement is None:
            judgement = self._large_move(step, material)
        if judgement is None:
            flag = ReturnFlag.WITH_EVENTS if walked.events else ReturnFlag.ORDINARY
            judgement = self._accept(u, step.factor - 1.0, ReturnFlag.OVER_GAP if u - base > 1 else flag)
        if not material:
            self.moves[u] = step.move
        return judgement

    def _is_material(self, step: _Step, effect: float) -> bool:
        rules = self.rules
        return abs(effect) >= rules.material and abs(effect) >= rules.material_sigmas * step.scale

    def _tolerance(self, step: _Step, effect: float) -> float:
        rules = self.rules
        return max(rules.reversal, rules.near_sigmas * step.scale, (1 - rules.followed) / 2 * abs(effect))

    def _material_event(self, step: _Step) -> Judgement | None:
        """An event of this session that the close did not follow: misdated, or wrong."""
        u, effect = step.u, step.effect
        if any(u - k <= self.rules.misdated for k in self.used_early):
            return self._accept(u, step.without - 1.0, ReturnFlag.EVENT_MOVED)
        ignored = (1 - self.rules.followed) * abs(effect)
        if abs(_log(step.without)) > ignored or step.move * effect < 0:
            return None
        factor = step.factor / step.without
        for k in range(u - 1, max(u - self.rules.misdated, 0) - 1, -1):
            before = self.moves.get(k)
            if before is not None and abs(before + effect) <= self._tolerance(step, effect):
                evidence = f"the close followed the event (factor {factor:g}) {u - k} sessions before its ex-date"
                note = Noted(k, "misdated_event", exp(before) - 1.0, exp(before + effect) - 1.0, evidence)
                return self._accept(u, step.without - 1.0, ReturnFlag.EVENT_MOVED, note)
        self.waiting.append((u, step.walked))
        evidence = f"an event (factor {factor:g}) is delivered, but the close went {step.without - 1:+.2%} only"
        note = Noted(u, "event_not_in_price", step.factor - 1.0, step.without - 1.0, evidence)
        return self._accept(u, nan, ReturnFlag.EVENT_CONFLICT, note)

    def _neighbouring_event(self, step: _Step) -> Judgement | None:
        """The move is an event that is dated a session or two before or after."""
        u, base, w = step.u, step.base, self.w
        if abs(step.move) < self.rules.followed * self.rules.material:
            return None
        near = [(k, walked) for k, walked in self.waiting if u - k <= self.rules.misdated]
        ahead = w.walk(u, u + self.rules.misdated)
        if ahead.events and not ahead.problem:
            near.append((u + 1, ahead))
        for k, walked in near:
            factor = _factor(w.close[base], w.close[u], walked)
            effect = _log(factor) - step.move
            if not self._is_material(step, effect) or abs(step.move) < self.rules.followed * abs(effect):
                continue
            if abs(_log(factor)) > self._tolerance(step, effect):
                continue
            if k > u:
                self.used_early.append(u)
            self.waiting = [entry for entry in self.waiting if entry[0] != k]
            when = "before its ex-date" if k > u else f"{u - k} sessions after its ex-date"
            evidence = f"the close followed the event (factor {factor / step.factor:g}) {when}; used here"
            note = Noted(u, "misdated_event", step.factor - 1.0, factor - 1.0, evidence)
            return self._accept(u, factor - 1.0, ReturnFlag.EVENT_MOVED, note)
        return None

    def _outside_own_range(self, step: _Step) -> Judgement | None:
        """The close lies outside the bar's own range and far from the last close."""
        if abs(step.move) <= log(self.rules.outside_range):
            return None
        close, before = self.w.close[step.u], self.w.close[step.base]
        evidence = f"close {close:g} lies outside the range of its own bar, and the last close was {before:g}"
        return Judgement(nan, ReturnFlag.BAD_PRINT, (Noted(step.u, "bad_print", close, before, evidence),))

    def _large_move(self, step: _Step, material: bool) -> Judgement | None:
        rules, move = self.rules, abs(step.move)
        if move <= min(rules.jump, rules.event_jump) and step.move > -rules.split_jump:
            return None
        scale = step.scale
        bound = max(rules.jump, rules.sigmas * scale)
        on_event = max(rules.event_jump, rules.event_sigmas * scale)
        if material and step.walked.splits and move > on_event and self._has_another_ratio(step):
            ratio = step.walked.num / step.walked.den
            evidence = f"with split {ratio:g} the move is {step.factor - 1:+.2%}, without {step.without - 1:+.2%}"
            note = Noted(step.u, "split_ratio_contradicted", step.factor - 1.0, step.without - 1.0, evidence)
            return self._accept(step.u, nan, ReturnFlag.EVENT_CONFLICT, note)
        if move > bound and (judgement := self._comes_back(step)) is not None:
            return judgement
        if not 1 / rules.impossible < step.factor < rules.impossible:
            return self._impossible(step, bound)
        volume_known = isfinite(self._usual_volume_ratio(step.u))
        least = rules.split_jump if step.move < 0 and volume_known else rules.jump
        if move > max(least, rules.event_sigmas * scale):
            judgement = self._missing_split(step)
            if judgement is not None:
                return judgement
        if move <= bound:
            return None
        self.outlying.append((step.u, step.base))
        note = Noted(step.u, "extreme_return", step.factor - 1.0, exp(bound) - 1.0, "no sign of a fault, kept")
        return self._accept(step.u, step.factor - 1.0, ReturnFlag.EXTREME_KEPT, note)

    def _moved_while_trading(self, step: _Step) -> bool:
        """Whether a good part of the move happened within the session: a genuine move, since splits do not trade."""
        return self.w.spread[step.u] > self.rules.within_session * abs(step.move)

    def _has_another_ratio(self, step: _Step) -> bool:
        """Whether the session's split seems to have another ratio, rather than the stock to have moved."""
        volume = self._usual_volume_ratio(step.u) * step.walked.den / step.walked.num
        fits = not isfinite(volume) or self._fits_a_split(volume, 1 / step.factor, step, 0.0)
        return fits and not self._moved_while_trading(step)

    def _comes_back(self, step: _Step) -> Judgement | None:
        """The price is back where it was before an outlying step: what lies between were bad prints."""
        w, u = self.w, step.u
        for k, base in reversed(self.outlying):
            if u - k > self.rules.reversal_sessions or u - base > self.max_gap:
                continue
            walked = w.walk(base, u)
            back = _factor(w.close[base], w.close[u], walked)
            if walked.problem or abs(_log(back)) > self.rules.reversal:
                continue
            self.outlying = [entry for entry in self.outlying if entry[0] < k]
            came = f"the close left {w.close[base]:g} and was back at {w.close[u]:g}"
            notes = [
                Noted(j, "bad_print", w.close[j], w.close[base], f"{came} {u - j} sessions later")
                for j in range(k, u)
                if isfinite(w.close[j])
            ]
            return self._accept(u, back - 1.0, ReturnFlag.OVER_GAP, *notes)
        return None

    def _impossible(self, step: _Step, bound: float) -> Judgement:
        """No stock moves by such a factor: the bar is set aside, until the level holds."""
        w, u, base = self.w, step.u, step.base
        self.set_aside.append(u)
        levels = [w.close[k] for k in self.set_aside]
        if len(levels) >= self.rules.level_sessions and max(levels) / min(levels) < exp(bound):
            before = self.set_aside[-2]
            evidence = (
                f"{len(levels)} closes near {w.close[u]:g}, {step.factor:g} times the level before: the new level"
            )
            note = Noted(u, "level_break", w.close[u], w.close[base], evidence)
            ret = _factor(w.close[before], w.close[u], w.walk(before, u)) - 1.0
            return self._accept(u, ret, ReturnFlag.ORDINARY if u - before == 1 else ReturnFlag.OVER_GAP, note)
        evidence = f"close {w.close[u]:g} after {w.close[base]:g}, a factor of {step.factor:.4g} in one step"
        again = len(levels) > 1 and abs(_log(levels[-1] / levels[-2])) <= bound
        flag = ReturnFlag.LEVEL_BREAK if again else ReturnFlag.BAD_PRINT
        return Judgement(nan, flag, (Noted(u, "bad_print", w.close[u], w.close[base], evidence),))

    def _missing_split(self, step: _Step) -> Judgement | None:
        """The outlying move is a split ratio, the volume fits one better than a genuine move, and no event says so."""
        rules, w, u = self.rules, self.w, step.u
        volume = self._usual_volume_ratio(u)
        known = isfinite(volume)
        ratio = min(customary_ratios(rules), key=lambda s: abs(_log(step.factor * s)))
        untraded = w.volume[step.base] == 0  # the close before is old: the move may be that of several days
        if self._moved_while_trading(step) or (untraded and step.factor < rules.reverse):
            return None
        distance = abs(_log(step.factor * ratio))
        widest = min(rules.split_sigmas * step.scale, rules.split_widest) if known and u - step.base == 1 else 0.0
        if widest and isfinite(w.spread[u]) and abs(log(ratio)) > log(rules.halving):
            widest = rules.split_widest  # it opened at the new level and stayed there
        fits = step.factor >= rules.reverse and volume <= rules.reverse_volume
        if distance <= max(rules.split_tolerance, widest):
            fits = fits or not known or self._fits_a_split(volume, ratio, step, distance)
        else:
            ratio = 1 / step.factor
        if not fits:
            return None
        self.outlying.append((u, step.base))
        evidence = f"close times {step.factor:.4g}, volume times {volume:.3g}, no event: looks like a split {ratio:.4g}"
        note = Noted(u, "missing_split", step.factor - 1.0, step.factor * ratio - 1.0, evidence)
        return self._accept(u, nan, ReturnFlag.MISSING_SPLIT, note)

    def _fits_a_split(self, volume: float, ratio: float, step: _Step, rest: float) -> bool:
        """Whether a volume (times the usual one) is nearer to that of a split than to that of a genuine move.

        Volume grows with the size of a move in scales. After a split shares are counted in the new unit, and only the
        rest of the move is one; that rest is given to a split by more than `halving` only, since stocks do halve.
        """
        scale = max(step.scale, 1e-9)
        of_move = log(max(1.0, abs(step.move) / scale))
        of_split = log(ratio)
        if abs(of_split) > log(self.rules.halving):
            of_split += log(max(1.0, rest / scale))
        return abs(log(volume) - of_split) <= abs(log(volume) - of_move)

    def _usual_volume_ratio(self, u: int) -> float:
        """Volume of an element over the median of up to `volume_sessions` before it; NaN when unknown."""
        volume = self.w.volume
        before = sorted(v for v in volume[max(0, u - self.rules.volume_sessions) : u] if v > 0)
        if not before or not volume[u] > 0:
            return nan
        return volume[u] / before[len(before) // 2]


def customary_ratios(rules: OutlierRules) -> list[float]:
    """The customary splits and reverse splits, ascending."""
    return sorted(rules.customary_splits + tuple(1 / ratio for ratio in rules.customary_splits))


def _factor(p0: float, p1: float, walked: Walked) -> float:
    """1 + return; the operations of `returns.growth` in their order, so that both give the same bits."""
    return (p1 * walked.num / walked.den + walked.cash) / p0


def _log(factor: float) -> float:
    return log(factor) if factor > 0 else -inf
