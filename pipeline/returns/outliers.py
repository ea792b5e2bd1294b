"""What an outlying return is: a move that an event explains, a fault in the data, or a genuine move.

`judge` looks at one security over a short window that ends at the session to publish, as it was known then, and walks
it from a clean start. Because the judgement is a function of that window alone, it is the same in a nightly run and in
a backfill, and nothing later can change it. A fault that shows only afterwards (a price that comes back) is found at
the later session: the faulty close is no base for the return of that session, and the finding names the faulty one.

A fault never becomes another number: the cell is missing with a flag, or keeps its value with one. The one thing that
is moved is an event that the price followed on a neighbouring session, and the cell says so.
"""

from __future__ import annotations

from math import exp, isfinite, log, nan

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.returns.misdated import event_not_followed, neighbouring_event
from pipeline.returns.window import Judgement, Note, Outcome, State, Step, Window, safe_log
from pipeline.settings import OutlierRules


def judge(window: Window, rules: OutlierRules, max_gap: int) -> Judgement:
    """The return of the window's last element, with what was found out at that session.

    max_gap: sessions without a close that a return may span.
    """
    judgement, state = Judgement(nan, ReturnFlag.NO_PRICE), State()
    for u in range(len(window.close)):
        judgement, after = _judged(window, state, u, rules, max_gap)
        if window.verdict.get(u) == "confirm" and isfinite(judgement.ret):
            judgement = Judgement(nan, ReturnFlag.WITHHELD)  # a person says that it is wrong: its close is no price
        else:
            state = after
    return judgement


def _judged(window: Window, state: State, u: int, rules: OutlierRules, max_gap: int) -> Outcome:
    """One element: what its return may be made from."""
    base = state.base
    has_close, has_vendor = isfinite(window.close[u]), isfinite(window.vendor_close[u])
    if not (has_close or has_vendor):
        return state.refuse(ReturnFlag.NO_PRICE)
    if base < 0 or u - base > max_gap:
        return state.accept(u, nan, ReturnFlag.GAP_TOO_LONG)
    if has_close and isfinite(window.close[base]):
        return _from_closes(state, Step.between(window, base, u, rules), max_gap)
    if has_vendor and isfinite(window.vendor_close[base]):
        return _from_vendor(window, state, u, rules)
    return state.accept(u, nan, ReturnFlag.NOT_COMPARABLE)


def _from_vendor(window: Window, state: State, u: int, rules: OutlierRules) -> Outcome:
    """A return from two back-adjusted closes: they hold the events already."""
    close, before = window.vendor_close[u], window.vendor_close[state.base]
    factor = close / before
    flag = ReturnFlag.VENDOR_RATIO if u - state.base == 1 else ReturnFlag.VENDOR_RATIO_OVER_GAP
    bound = max(rules.jump, rules.sigmas * window.scale(u))
    if abs(safe_log(factor)) <= bound or window.verdict.get(u) == "release":
        return state.accept(u, factor - 1.0, flag)
    if not 1 / rules.impossible < factor < rules.impossible:
        note = Note(u, "bad_print", close, before, f"back-adjusted close {close:g} after {before:g}")
        return state.refuse(ReturnFlag.BAD_PRINT, note)
    note = Note(u, "extreme_return", factor - 1.0, exp(bound) - 1.0, "from back-adjusted closes, kept")
    return state.accept(u, factor - 1.0, flag, note)


def _from_closes(state: State, step: Step, max_gap: int) -> Outcome:
    """A return from two closes and the events between: the rules in their order, the first that speaks decides."""
    u, accrued = step.u, step.accrued
    if _is_quiet(step):
        after = state._replace(base=u, set_aside=(), moves=(*state.moves, (u, step.move)))
        return Outcome(Judgement(step.factor - 1.0, _plain_flag(step)), after)
    if accrued.problem:
        return state.accept(u, nan, ReturnFlag(accrued.problem))
    if step.window.verdict.get(u) == "release":
        return state.accept(u, step.factor - 1.0, ReturnFlag.RELEASED)
    if accrued.cash > step.close_before:
        evidence = f"cash {accrued.cash:g} in one step"
        note = Note(u, "dividend_above_price", accrued.cash, step.close_before, evidence)
        return state.accept(u, nan, ReturnFlag.EVENT_CONFLICT, note)
    material = step.is_material(step.effect)
    judgement, after = (
        (event_not_followed(state, step) if material else neighbouring_event(state, step))
        or _outside_own_range(state, step)
        or _large_move(state, step, material, max_gap)
        or state.accept(u, step.factor - 1.0, _plain_flag(step))
    )
    if not material:
        after = after._replace(moves=(*after.moves, (u, step.move)))
    return Outcome(judgement, after)


def _is_quiet(step: Step) -> bool:
    """Whether no event, no person and no bound of a rule has to do with a step: nearly all are, and all rules would let
    them pass."""
    rules, window, size = step.rules, step.window, abs(step.move)
    if step.accrued.events or window.verdict or window.doubtful[step.u]:
        return False
    return size < min(rules.followed * rules.material, rules.jump, rules.event_jump, rules.split_jump)


def _plain_flag(step: Step) -> ReturnFlag:
    if step.u - step.base > 1:
        return ReturnFlag.OVER_GAP
    return ReturnFlag.WITH_EVENTS if step.accrued.events else ReturnFlag.ORDINARY


def _outside_own_range(state: State, step: Step) -> Outcome | None:
    """The close lies outside the bar's own range and far from the last close."""
    if not step.window.doubtful[step.u] or abs(step.move) <= log(step.rules.outside_range):
        return None
    if step.window.doubted_before(step.u):
        return None
    close, before = step.close, step.close_before
    evidence = f"close {close:g} lies outside the range of its own bar, and the last close was {before:g}"
    return state.refuse(ReturnFlag.BAD_PRINT, Note(step.u, "bad_print", close, before, evidence))


def _large_move(state: State, step: Step, material: bool, max_gap: int) -> Outcome | None:
    """A move beyond the bounds: a fault with a name, or genuine and kept. None for a move within them."""
    rules, move, u = step.rules, abs(step.move), step.u
    if move <= min(rules.jump, rules.event_jump) and step.move > -rules.split_jump:
        return None
    on_event = max(rules.event_jump, rules.event_sigmas * step.scale)
    if material and step.accrued.splits and move > on_event and _has_another_ratio(step):
        ratio = step.accrued.num / step.accrued.den
        evidence = f"with split {ratio:g} the move is {step.factor - 1:+.2%}, without {step.without - 1:+.2%}"
        note = Note(u, "split_ratio_contradicted", step.factor - 1.0, step.without - 1.0, evidence)
        return state.accept(u, nan, ReturnFlag.EVENT_CONFLICT, note)
    if move > step.bound and (back := _comes_back(state, step, max_gap)) is not None:
        return back
    if not 1 / rules.impossible < step.factor < rules.impossible:
        return _impossible(state, step)
    volume_known = isfinite(step.window.volume_ratio(u, rules.volume_sessions))
    least = rules.split_jump if step.move < 0 and volume_known else rules.jump
    if move > max(least, rules.event_sigmas * step.scale) and (missing := _missing_split(state, step)) is not None:
        return missing
    if move <= step.bound:
        return None
    note = Note(u, "extreme_return", step.factor - 1.0, exp(step.bound) - 1.0, "no sign of a fault, kept")
    here = (u, step.base)
    after = state._replace(outlying=(*state.outlying, here), published=(*state.published, here))
    return after.accept(u, step.factor - 1.0, ReturnFlag.EXTREME_KEPT, note)


def _comes_back(state: State, step: Step, max_gap: int) -> Outcome | None:
    """The price is back where it was before an outlying step: what lies between were bad prints."""
    w, u = step.window, step.u
    for k, base in reversed(state.outlying):
        if u - k > step.rules.reversal_sessions or u - base > max_gap:
            continue
        whole = Step.between(w, base, u, step.rules)
        if whole.accrued.problem or abs(whole.move) > step.rules.reversal:
            continue
        came = f"the close left {w.close[base]:g} and was back at {w.close[u]:g}"
        if _traded(Step.between(w, base, k, step.rules)):
            return None
        notes = [
            Note(j, "bad_print", w.close[j], w.close[base], f"{came} {u - j} sessions later")
            for j in range(k, u)
            if isfinite(w.close[j])
        ]
        after = state._replace(outlying=tuple(entry for entry in state.outlying if entry[0] < k))
        if (k, base) in state.published:  # a holder of the published series had the way there
            return after.accept(u, step.factor - 1.0, ReturnFlag.EXTREME_KEPT, *notes)
        return after.accept(u, whole.factor - 1.0, ReturnFlag.OVER_GAP, *notes)
    return None


def _traded(step: Step) -> bool:
    """Whether an outlying move was made in trading: its bar covers a good part of it, on a volume that fits."""
    volume = step.window.volume_ratio(step.u, step.rules.volume_sessions)
    return _moved_while_trading(step) and volume >= step.rules.traded_volume


def _impossible(state: State, step: Step) -> Outcome:
    """No stock moves by such a factor: the bar is set aside, until the level holds."""
    w, u, rules = step.window, step.u, step.rules
    set_aside = (*state.set_aside, u)
    levels = [w.close[k] for k in set_aside]
    if len(levels) >= rules.level_sessions and max(levels) / min(levels) < exp(step.bound):
        evidence = f"{len(levels)} closes near {step.close:g}, {step.factor:g} times the level before: the new level"
        note = Note(u, "level_break", step.close, step.close_before, evidence)
        within = Step.between(w, set_aside[-2], u, rules)
        flag = ReturnFlag.ORDINARY if u - within.base == 1 else ReturnFlag.OVER_GAP
        return state.accept(u, within.factor - 1.0, flag, note)
    evidence = f"close {step.close:g} after {step.close_before:g}, a factor of {step.factor:.4g} in one step"
    again = len(levels) > 1 and abs(safe_log(levels[-1] / levels[-2])) <= step.bound
    flag = ReturnFlag.LEVEL_BREAK if again else ReturnFlag.BAD_PRINT
    note = Note(u, "bad_print", step.close, step.close_before, evidence)
    return state._replace(set_aside=set_aside).refuse(flag, note)


def _missing_split(state: State, step: Step) -> Outcome | None:
    """The outlying move is a split ratio, the volume fits one better than a genuine move, and no event says so."""
    rules, w, u = step.rules, step.window, step.u
    volume = w.volume_ratio(u, rules.volume_sessions)
    known = isfinite(volume)
    ratio = min(customary_ratios(rules), key=lambda s: abs(safe_log(step.factor * s)))
    untraded = w.volume[step.base] == 0  # the close before is old: the move may be that of several days
    few_ticks = abs(step.close - step.close_before) <= rules.ticks * w.tick(u, rules.tick) * (1 + 1e-9)
    if few_ticks or _moved_while_trading(step) or (untraded and step.factor < rules.reverse):
        return None
    distance = abs(safe_log(step.factor * ratio))
    widest = min(rules.split_sigmas * step.scale, rules.split_widest) if known and u - step.base == 1 else 0.0
    if widest and isfinite(w.high[u] + w.low[u]) and abs(log(ratio)) > log(rules.halving):
        widest = rules.split_widest  # it opened at the new level and stayed there
    fits = step.factor >= rules.reverse and volume <= rules.reverse_volume
    if distance <= max(rules.split_tolerance, widest):
        fits = fits or not known or _fits_a_split(step, volume, ratio, distance)
    else:
        ratio = 1 / step.factor
    if not fits:
        return None
    evidence = f"close times {step.factor:.4g}, volume times {volume:.3g}, no event: looks like a split {ratio:.4g}"
    note = Note(u, "missing_split", step.factor - 1.0, step.factor * ratio - 1.0, evidence)
    outlying = (*state.outlying, (u, step.base))
    return state._replace(outlying=outlying).accept(u, nan, ReturnFlag.MISSING_SPLIT, note)


def customary_ratios(rules: OutlierRules) -> list[float]:
    """The customary splits and reverse splits, ascending."""
    return sorted(rules.customary_splits + tuple(1 / ratio for ratio in rules.customary_splits))


def _moved_while_trading(step: Step) -> bool:
    """Whether a good part of the move happened within the session: a genuine move, since splits do not trade."""
    return step.traded_share > step.rules.within_session


def _has_another_ratio(step: Step) -> bool:
    """Whether the session's split seems to have another ratio, rather than the stock to have moved."""
    volume = step.window.volume_ratio(step.u, step.rules.volume_sessions) * step.accrued.den / step.accrued.num
    fits = not isfinite(volume) or _fits_a_split(step, volume, 1 / step.factor, 0.0)
    return fits and not _moved_while_trading(step)


def _fits_a_split(step: Step, volume: float, ratio: float, rest: float) -> bool:
    """Whether a volume (times the usual one) is nearer to that of a split than to that of a genuine move.

    Volume grows with the size of a move in scales. After a split shares are counted in the new unit, and only the rest
    of the move is one; that rest is given to a split by more than `halving` only, since stocks do halve.
    """
    scale = max(step.scale, 1e-9)
    of_move = log(max(1.0, abs(step.move) / scale))
    of_split = log(ratio)
    if abs(of_split) > log(step.rules.halving):
        of_split += log(max(1.0, rest / scale))
    return abs(log(volume) - of_split) <= abs(log(volume) - of_move)
