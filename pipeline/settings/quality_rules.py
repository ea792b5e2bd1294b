"""Bounds of the rules about bars, events, sessions, members and factor ETFs (docs/returns.md)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.settings.units import (
    Dollars,
    Factor,
    Group,
    LogMove,
    Number,
    Return,
    Scales,
    Securities,
    Sessions,
    Share,
    Unit,
)


class BarRules(Group):
    """Bounds of the rules about single bars."""

    sentinel: Dollars = Field(
        1e6,
        description="closes from here on are no prices (vendors write 1e6 for none), unless a close of the "
        "`sentinel_sessions` before was above `sentinel_if_below`",
    )
    sentinel_if_below: Dollars = Field(5e5, description="a stock that has closed above it may cross the sentinel")
    sentinel_sessions: Sessions = Field(60, ge=0, description="how far back `sentinel_if_below` looks")
    shared_names: Securities = Field(
        3, ge=2, description="securities with one close, each `shared_factor` from its own before, that make it a test"
    )
    shared_factor: Factor = Field(1.25, description="distance to the close before from which on `shared_names` counts")
    ohlc_tolerance: Share = Field(
        1e-6, description="relative distance by which open or close may lie outside [low, high]"
    )
    stale_sessions: Sessions = Field(
        5,
        ge=1,
        description="the repetition of a close without volume, or with the same one, from which on it is no price",
    )


class EventRules(Group):
    """Bounds of the rules about single events."""

    ratio: Factor = Field(1000.0, description="largest split, either way")
    schedule: Number = Field(
        4, ge=2, description="intervals between a payer's last regular dividends that show its schedule"
    )
    schedule_even: Share = Field(
        0.25, description="how far such an interval may be from their median, as a part of it, on an even schedule"
    )
    schedule_soon: Share = Field(
        0.5, description="part of that median before which the same amount again is told: it may be one under two dates"
    )
    yield_jump: Factor = Field(
        5.0, description="how far a regular dividend's yield may leave the range of the last `yields`"
    )
    yields: Number = Field(4, ge=1, description="dividends that a yield is compared with")
    basis: Return = Field(
        0.0025,
        description="difference of the day's return between a dividend of the old and of the new share from which on "
        "somebody should look",
    )
    due_bill: Share = Field(
        0.25, description="part of the price from which on a payout goes ex after it is paid, whatever its record date"
    )
    fx_max_age: Sessions = Field(5, ge=0, description="largest age of an exchange rate on an ex-date")
    shares_after: Sessions = Field(126, ge=0, description="time after the first price by which a count should be known")


class SessionRules(Group):
    """Bounds for one session over all securities; a breach of the first ones stops the run."""

    names: Securities = Field(20, ge=0, description="sessions with fewer are not judged")
    coverage: Share = Field(
        0.7, description="smallest part of the securities with a price the session before that must have one"
    )
    traded: Share = Field(
        0.5, description="smallest part of the securities with a volume the session before that must have one"
    )
    stale: Share = Field(
        0.5, description="largest part of securities whose close and volume both repeat the session before"
    )
    broken_factor: Factor = Field(8.0, description="a close that moves further without an event is broken")
    broken_share: Share = Field(0.05, description="largest part of securities whose close is broken")
    unchanged: Share = Field(0.3, description="largest part of securities whose close is exactly the one before")
    as_one: Scales = Field(
        6.0,
        description="largest median move, in spreads of the moves around it (1.4826 times their median distance), "
        "where the median itself moves by more than `as_one_move`",
    )
    as_one_move: LogMove = Field(0.05, description="smallest median move that `as_one` judges")
    shifted_bars: Number = Field(
        3, ge=1, description="bars on closed days within `shifted_sessions` that make the dates of a code shifted"
    )
    shifted_sessions: Sessions = Field(25, ge=0, description="stretch in which `shifted_bars` are counted")
    zero_returns: Share = Field(0.3, description="part of returns that are exactly zero from which on it is flagged")
    median_move: Annotated[float, Field(ge=0, le=1), Unit("simple return")] = Field(
        0.06, description="median size of a session's returns from which on it is flagged"
    )
    splits: Share = Field(0.03, description="part of securities with a split on one ex-date that is flagged")
    dividends: Share = Field(0.15, description="part of securities with a dividend on one ex-date that is flagged")
    market_correlation: Annotated[float, Field(ge=-1, le=1), Unit("correlation")] = Field(
        0.9, description="smallest correlation of the market ETF with the cap-weighted stocks in a month"
    )
    month_sessions: Sessions = Field(15, ge=2, description="sessions from which on a month's correlation is judged")
    correlation_sessions: Sessions = Field(
        21, ge=2, le=60, description="sessions that are a month where each night looks at the last one"
    )
    night_correlation: Annotated[float, Field(ge=-1, le=1), Unit("correlation")] = Field(
        0.85, description="smallest correlation in such a month; each night is asked, so it is lower"
    )


class DayBeforeRules(Group):
    """Bounds for the members of a session, against that session: the largest stocks with a price the session before."""

    members: Securities = Field(3000, ge=1, description="how many of the largest stocks are members")
    names: Securities = Field(20, ge=0, description="with fewer members nothing is judged")
    few: Securities = Field(3, ge=0, description="so many members may always change")
    missing: Share = Field(0.05, description="largest part, by number or by market cap, without a price")
    classes: Share = Field(0.1, description="largest part, by number or by market cap, with another classification")
    counts: Share = Field(0.1, description="largest part, by number or by market cap, with another count of shares")
    count_factor: Factor = Field(1.5, description="change from which on a count is another one, splits aside")


class EtfRules(Group):
    """Bounds for factor ETFs, which are held against their stocks and against each other (simple returns)."""

    sessions: Sessions = Field(60, ge=1, description="stretch from which it is known how far an ETF strays usually")
    least: Sessions = Field(40, ge=1, description="with fewer returns in it an ETF is not judged")
    names: Securities = Field(5, ge=1, description="fewest stocks, or other ETFs, that an ETF is held against")
    sigmas: Scales = Field(
        6.0, description="usual distances from which on an ETF is off its market, where it is off by the floor as well"
    )
    floor: Annotated[float, Field(ge=0, le=1), Unit("simple return")] = Field(
        0.01, description="distance to its stocks below which an ETF is never off"
    )
    market_floor: Annotated[float, Field(ge=0, le=1), Unit("simple return")] = Field(
        0.003, description="distance to its stocks below which the market ETF is never off"
    )
    family_sessions: Sessions = Field(
        120, ge=2, description="stretch over which the other ETFs' weights in the market ETF are estimated"
    )
    family_whole: Share = Field(0.9, description="part of those returns that an ETF needs to be one of them")
    family_floor: Annotated[float, Field(ge=0, le=1), Unit("simple return")] = Field(
        0.005, description="distance to the other ETFs below which the market ETF is never off"
    )
