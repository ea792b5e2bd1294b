"""Bounds of the rules that make a return, or doubt one (docs/returns.md)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.settings.units import (
    Dollars,
    Factor,
    Factors,
    Group,
    LogMove,
    Multiple,
    Number,
    Return,
    Scales,
    Sessions,
    Share,
    Unit,
)


class OutlierRules(Group):
    """Bounds of the return rules.

    The scale of a return is 1.4826 times the median size of the returns before it.
    """

    scale_sessions: Sessions = Field(60, ge=1, description="returns before the judged one that make its scale")
    scale_minimum: Number = Field(20, ge=1, description="with fewer of them the scale is unknown")
    calm_sessions: Sessions = Field(
        10, ge=1, description="the scale is that of the last so many returns where that one is larger"
    )
    jump: LogMove = Field(0.5, description="a move is outlying beyond the larger of this and `sigmas` scales")
    split_jump: LogMove = Field(0.3, description="a fall beyond it may be a missing split, where the volume says so")
    sigmas: Scales = Field(12.0, description="a move is outlying beyond the larger of this and `jump`")
    event_jump: LogMove = Field(
        0.4,
        description="on a session with a material split a move is outlying beyond the larger of this and "
        "`event_sigmas`",
    )
    event_sigmas: Scales = Field(
        8.0, description="on a session with a material split what `sigmas` is on others; also for a missing split"
    )
    material: LogMove = Field(
        0.1, description="an event matters to these rules beyond the larger of this and `material_sigmas`"
    )
    material_sigmas: Scales = Field(
        5.0, description="an event matters to these rules beyond the larger of this and `material`"
    )
    followed: Share = Field(
        0.65, description="part of an event's effect by which the price must move to have followed it"
    )
    near_sigmas: Scales = Field(3.0, description="distance that a move may have from what an event explains")
    impossible: Factor = Field(50.0, description="step that no stock makes: the bar is a bad print at once")
    outside_range: Factor = Field(
        1.2,
        description="a close so far outside its own [low, high], and away from the last close, is a bad print",
    )
    reversal: LogMove = Field(
        0.05, description="how near the price must come back for an outlying move to be a bad print"
    )
    reversal_sessions: Sessions = Field(
        10, ge=0, description="how soon the price must come back for an outlying move to be a bad print"
    )
    customary_splits: Factors = Field(
        (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0),
        min_length=1,
        description="ratios above one by which stocks split, and the other way round",
    )
    split_tolerance: LogMove = Field(
        0.02, description="distance to a customary ratio that makes an outlying move look like a missing split"
    )
    split_sigmas: Scales = Field(3.0, description="the same distance where the volume is known, at most `split_widest`")
    split_widest: LogMove = Field(0.15, description="largest distance that `split_sigmas` may make")
    halving: Factor = Field(2.5, description="ratio up to which a genuine move is as likely as a split that is missing")
    volume_sessions: Sessions = Field(20, ge=1, description="the usual volume is the median of so many sessions")
    within_session: Share = Field(
        0.3, description="part of a move that the bar's own range must cover to show that it was traded"
    )
    stray: Factor = Field(
        1.5, description="a high or low so far beyond both closes of a move is no evidence that it was traded"
    )
    ticks: Number = Field(
        3,
        ge=0,
        description="a move of up to so many of the smallest steps between the closes before is no missing split",
    )
    tick: Dollars = Field(1e-4, description="no step between closes is smaller (Regulation NMS, rule 612)")
    traded_volume: Factor = Field(
        3.0,
        description="times the usual volume at which a move that the bar's range covers was traded, and stays when "
        "the price comes back",
    )
    reverse: Factor = Field(
        4.0, description="a rise by it looks like a reverse split of any ratio, unless `reverse_volume` says otherwise"
    )
    reverse_volume: Multiple = Field(
        2.0, description="times the usual volume above which a rise is no missing reverse split"
    )
    misdated: Sessions = Field(2, ge=0, description="distance by which an event may be misdated")
    due_bill: LogMove = Field(
        0.25,
        description="an event with at least this effect that the price did not follow waits `due_bill_sessions` for a "
        "move of its size (payouts above a quarter go ex after they are paid)",
    )
    due_bill_sessions: Sessions = Field(12, ge=0, description="how long an event of `due_bill` waits for its move")
    small: LogMove = Field(
        0.02, description="a split beyond it that is not material is doubted when `gain` says so; a smaller one never"
    )
    gain: Annotated[float, Field(gt=0), Unit("squared scales")] = Field(
        10.0,
        description="a small split is doubted when the squares of two moves shrink by more than this with the split "
        "on the other of the two sessions",
    )
    disagreement: Return = Field(
        0.05, description="difference to the return from the vendor's back-adjusted closes that is worth a look"
    )
    level_sessions: Sessions = Field(
        3, ge=1, description="bars in a row at an impossible level after which it is the level"
    )

    def window(self, max_gap: int) -> int:
        """Sessions before the judged one that can matter to it."""
        return max(self.reversal_sessions + max_gap + 1, self.volume_sessions)


class DelistingRules(Group):
    """What a delisting is worth without evidence, and how old evidence may be."""

    imputed: Annotated[float, Field(ge=-1), Unit("simple return")] = Field(
        -0.30, description="return of a performance delisting on NYSE and AMEX (Shumway 1997)"
    )
    imputed_nasdaq: Annotated[float, Field(ge=-1), Unit("simple return")] = Field(
        -0.55, description="return of a performance delisting on Nasdaq (Shumway and Warther 1999)"
    )
    successor_max_age: Sessions = Field(
        5, ge=0, description="how much older than the last session the successor's close may be"
    )
    cash_short: Share = Field(
        0.2,
        description="cash of a merger that lies further below the last close is only a part of what was paid, where "
        "no ratio is given",
    )
