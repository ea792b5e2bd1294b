"""Rules about a delivery as a whole: how it is read, and how it may differ from the last one."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.units import Days, Factor, Factors, Group, LogMove, Number, Sessions, Share


class CleaningRules(Group):
    """How a delivery is read before anybody uses it."""

    duplicate_days: Days = Field(
        7,
        ge=0,
        description="equal splits, or equal dividends, with ex-dates at most so far apart are one event delivered "
        "twice; exactly so far apart they are a weekly payer's two, if it paid as long before the first one as well",
    )
    redated_days: Days = Field(
        60,
        ge=0,
        description="equal splits, or equal large dividends, at most so far apart are one event under two dates where "
        "the close followed one of them and not the other",
    )
    redated_effect: LogMove = Field(
        0.05, description="smallest effect on the price of which it can be told whether the close followed"
    )
    small_term: Number = Field(
        5,
        ge=0,
        description="a ratio above one is a split when one term of it in lowest terms is at most this (3:2, 5:4, 7:2, "
        "1:20), or when it is one of `stock_dividends`; any other is a spin-off's price factor",
    )
    stock_dividends: Factors = Field(
        (1.05, 1.1), description="ratios above one that are splits although both terms are larger than `small_term`"
    )
    odd_reverse: Number = Field(
        10,
        ge=0,
        description="a ratio below one with odd terms is a reverse split of up to 1 for so many on the day of a "
        "spin-off with a price factor up to `odd_spin_off`",
    )
    odd_spin_off: Factor = Field(1.6, description="largest price factor of a spin-off that `odd_reverse` looks for")
    paid_twice: Factor = Field(
        1.5,
        description="a dividend on the day of a spin-off is the same one once more when it is worth as much, within "
        "this factor",
    )
    share_jump: Factor = Field(
        20.0, description="change between consecutive filings from which on a share count is not believed alone"
    )
    share_agrees: Factor = Field(
        2.0, description="a second filing within this factor makes a count believed that jumped by `share_jump`"
    )
    share_split: Factor = Field(1.5, description="splits below it cannot be told from an issue of shares")
    unit_of_count: Factor = Field(
        1.1,
        description="change between two sessions' share counts from which on a split that the close has not followed "
        "is taken for the reason",
    )
    full_trading: Share = Field(
        0.05,
        description="a bar after a delisting contradicts it when its volume is at least this share of the median of "
        "`usual_sessions` bars before (after a removal any volume does)",
    )
    usual_sessions: Sessions = Field(20, ge=1, description="bars whose median volume is the usual one")
    same_company: LogMove = Field(
        0.5,
        description="a bar after a delisting contradicts it when its close is no further from the last one (after a "
        "removal any close does)",
    )
    unowned_gap: Sessions = Field(
        10, ge=0, description="pause after which rows that belong to no security are reported again"
    )


class DriftRules(Group):
    """Bars and events that were delivered before, against what is delivered for them now."""

    sessions: Sessions = Field(30, ge=0, description="how far back deliveries are compared")
    share: Share = Field(0.001, description="part of the bars, or events, that may have changed; more stops the run")
    events: Number = Field(10, ge=0, description="events that may have changed however few were compared")
    years: Share = Field(
        0.01,
        description="part of the securities whose closes of one calendar year, older than `sessions`, may have "
        "changed; more stops the run",
    )
    few_years: Number = Field(3, ge=0, description="securities of which that may always be so")


class DeliveryRules(Group):
    """What a delivery may lack of what the last one had; more stops the run until somebody accepts it."""

    shrunk: Share = Field(0.05, description="part of a table's rows or securities that may be missing")
    few: Number = Field(10, ge=0, description="rows or securities that may be missing however small the table is")
    lost_securities: Share = Field(
        0.01,
        description="part of the known securities that need not be mentioned any more, without those that the last "
        "accepted delivery did not mention either",
    )
    tickers: Share = Field(
        0.01, description="part of the securities that may have another ticker of which `ticker_changes` does not tell"
    )
    few_tickers: Number = Field(3, ge=0, description="securities of which that may always be so")
