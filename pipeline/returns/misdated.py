"""Events that the price does not follow on their ex-date: it followed a session or two before or after, or never.

A large one may be followed much later: a payout of a quarter of the price or more goes ex after it is paid, whatever
its record date says, and vendors date splits by their announcement.
"""

from __future__ import annotations

from math import exp, nan

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.returns.window import Note, Outcome, State, Step, safe_log


def event_not_followed(state: State, step: Step) -> Outcome | None:
    """A material event of this session that the close did not follow: misdated, or wrong. None where it followed."""
    u, effect, rules = step.u, step.effect, step.rules
    if any(u - k <= rules.misdated for k in state.used_early):
        return state.accept(u, step.without - 1.0, ReturnFlag.EVENT_MOVED)
    ignored = (1 - rules.followed) * abs(effect)
    if abs(safe_log(step.without)) > ignored or step.move * effect < 0:
        return None
    factor, moves = step.factor / step.without, dict(state.moves)
    for k in range(u - 1, max(u - rules.misdated, 0) - 1, -1):
        before = moves.get(k)
        if before is not None and abs(before + effect) <= _tolerance(step, effect):
            evidence = f"the close followed the event (factor {factor:g}) {u - k} sessions before its ex-date"
            note = Note(k, "misdated_event", exp(before) - 1.0, exp(before + effect) - 1.0, evidence)
            return state.accept(u, step.without - 1.0, ReturnFlag.EVENT_MOVED, note)
    evidence = f"an event (factor {factor:g}) is delivered, but the close went {step.without - 1:+.2%} only"
    note = Note(u, "event_not_in_price", step.factor - 1.0, step.without - 1.0, evidence)
    waiting = (*state.waiting, (u, step.accrued))
    return state._replace(waiting=waiting).accept(u, nan, ReturnFlag.EVENT_CONFLICT, note)


def neighbouring_event(state: State, step: Step) -> Outcome | None:
    """A move that a material event explains which is dated a session or two before or after, or that a large one
    explains which the price did not follow so far. None for other moves."""
    u, rules = step.u, step.rules
    if abs(step.move) < rules.followed * rules.material:
        return None
    near = [(k, accrued) for k, accrued in state.waiting if u - k <= rules.due_bill_sessions]
    ahead = step.window.accrue(u, u + rules.misdated)
    if ahead.events and not ahead.problem:
        near.append((u + 1, ahead))
    for k, accrued in near:
        factor = step.with_events(accrued)
        effect = safe_log(factor) - step.move
        if not step.is_material(effect) or abs(step.move) < rules.followed * abs(effect):
            continue
        if u - k > rules.misdated and abs(effect) < rules.due_bill:
            continue
        if abs(safe_log(factor)) > _tolerance(step, effect):
            continue
        after = state._replace(
            waiting=tuple(entry for entry in state.waiting if entry[0] != k),
            used_early=(*state.used_early, u) if k > u else state.used_early,
        )
        when = "before its ex-date" if k > u else f"{u - k} sessions after its ex-date"
        evidence = f"the close followed the event (factor {factor / step.factor:g}) {when}; used here"
        note = Note(u, "misdated_event", step.factor - 1.0, factor - 1.0, evidence)
        return after.accept(u, factor - 1.0, ReturnFlag.EVENT_MOVED, note)
    return None


def _tolerance(step: Step, effect: float) -> float:
    """Log move that may be left over when an event with this effect explains the step."""
    rules = step.rules
    return max(rules.reversal, rules.near_sigmas * step.scale, (1 - rules.followed) / 2 * abs(effect))
