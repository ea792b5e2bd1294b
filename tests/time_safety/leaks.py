"""Look-ahead on purpose: wrong steps that know the future, each of a kind that has happened somewhere.

A leak takes pytest's monkeypatch. It is planted in the computation and works on whatever tables it is given: with a
world that ends it cannot see further, so that the rows differ from those of the whole world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline import model
from pipeline.engine import model_inputs
from pipeline.engine.products import daily, etf, masks
from pipeline.engine.run import Run
from pipeline.market_data import delivery, joining
from pipeline.market_data.point_in_time import Facts
from pipeline.returns.panel import DailyPanel
from security_master import SecurityMaster, panels

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Leak:
    """until: the first store in which the leak shows. cuts: sessions of which at least one must show it."""

    what: str
    plant: Plant
    until: str
    cuts: tuple[str, ...]


def in_shares(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Plant:
    """The share counts are looked up in `change(filings)`."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        right = panels.filings_of
        monkeypatch.setattr(panels, "filings_of", lambda facts: right(change(facts.copy())))

    return plant


def from_period_end(filings: pd.DataFrame) -> pd.DataFrame:
    known = filings["period_end"] + "T00:00:00.000000Z"
    return filings.assign(filed_at=known, known_from=known)


def on_the_filing_day(filings: pd.DataFrame) -> pd.DataFrame:
    """Filings are compared by date: one that is accepted in the evening counts from the day before on."""
    day = (pd.to_datetime(filings["filed_at"].str[:10]) - pd.Timedelta(days=1)).dt.strftime("%Y-%m-%d")
    known = day + "T00:00:00.000000Z"
    return filings.assign(filed_at=known, known_from=known)


def latest_for_ever(filings: pd.DataFrame) -> pd.DataFrame:
    """The undated snapshot of a vendor: today's share count on every session."""
    last = filings.sort_values(["sec_id", "period_end", "filed_at"]).drop_duplicates("sec_id", keep="last")
    return last.assign(period_end="2018-01-02", filed_at="2018-01-02T00:00:00Z", known_from="2018-01-02T00:00:00Z")


def class_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    right = panels.classification_panel

    def wrong(facts: pd.DataFrame, *rest: Any) -> np.ndarray:
        last = facts.sort_values(["sec_id", "valid_from", "known_from"]).drop_duplicates("sec_id", keep="last")
        return right(last.assign(valid_from="2018-01-02", known_from="2018-01-02T00:00:00.000000Z"), *rest)

    monkeypatch.setattr(panels, "classification_panel", wrong)


def class_from_its_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class applies from `valid_from` on, also while nobody knew it."""
    right = panels.classification_panel

    def wrong(facts: pd.DataFrame, *rest: Any) -> np.ndarray:
        newest = facts[facts["known_to"] > "9999-12-30"]
        return right(newest.assign(known_from=newest["valid_from"] + "T00:00:00.000000Z"), *rest)

    monkeypatch.setattr(panels, "classification_panel", wrong)


def in_panel(change: Callable[[DailyPanel], DailyPanel]) -> Plant:
    """The daily panel of stocks and ETFs is `change(panel)`."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        right = daily.daily_panel
        for product in (daily, etf):
            monkeypatch.setattr(product, "daily_panel", lambda *args: change(right(*args)))

    return plant


def backfilled_prices(panel: DailyPanel) -> DailyPanel:
    return replace(panel, close=np.ascontiguousarray(pd.DataFrame(panel.close).bfill(axis=1).to_numpy()))


def winsorised_returns(panel: DailyPanel) -> DailyPanel:
    """Returns beyond the 99th percentile of all sessions of the stock are cut to it."""
    with np.errstate(all="ignore"):
        high = np.array([np.nanquantile(row, 0.99) if np.isfinite(row).any() else np.inf for row in panel.ret])
    return replace(panel, ret=np.minimum(panel.ret, high[:, None]))


def adjusted_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closes are divided by all splits after them, as a vendor's adjusted close is: the price filter sees those."""
    right = daily.daily_panel

    def wrong(facts: Facts, sec_ids: np.ndarray, first: int, last: int, *rest: Any) -> DailyPanel:
        panel = right(facts, sec_ids, first, last, *rest)
        close, row_of = panel.close.copy(), {sec_id: k for k, sec_id in enumerate(sec_ids)}
        for split in facts.splits.itertuples():
            if split.sec_id in row_of:
                close[row_of[split.sec_id], : max(split.ex - first, 0)] *= split.ratio_old / split.ratio_new
        return replace(panel, close=close)

    for product in (daily, etf):
        monkeypatch.setattr(product, "daily_panel", wrong)


def in_facts(change: Callable[[Facts], Facts]) -> Plant:
    """The run works on `change(facts)`."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        right = delivery.build_facts
        monkeypatch.setattr(delivery, "build_facts", lambda *args: change(right(*args)))

    return plant


def corrected_prices_only(facts: Facts) -> Facts:
    """Of two versions of a bar the later one counts, from the beginning (`drop_duplicates(keep="last")`)."""
    prices = facts.prices.drop_duplicates(["sec_id", "session"], keep="last")
    return replace(facts, prices=prices.assign(visible=prices["session"]).reset_index(drop=True))


def splits_from_their_ex_date(facts: Facts) -> Facts:
    return replace(facts, splits=facts.splits.assign(visible=0))


def security_before_it_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row counts from when it was known, whoever knew then whose it is; a column holds whatever rows there are."""
    right = SecurityMaster.holders

    def wrong(master: SecurityMaster, codes: Any, dates: Any, **more: Any) -> Any:
        sec_ids, since = right(master, codes, dates, **more)
        return sec_ids, np.full_like(since, np.datetime64("1998-01-01", "us"))

    monkeypatch.setattr(SecurityMaster, "holders", wrong)
    for product in (daily, etf):
        monkeypatch.setattr(product, "known_from", lambda run, symbols, types: np.zeros(len(symbols), np.int32))


def column_before_its_security_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are late where their security is, but its flags and classes begin with its first session."""
    for product in (daily, etf):
        monkeypatch.setattr(product, "known_from", lambda run, symbols, types: np.zeros(len(symbols), np.int32))


def month_end_mask_in_its_own_month(monkeypatch: pytest.MonkeyPatch) -> None:
    right = masks._in_force

    def wrong(run: Run, taken: dict, symbols: np.ndarray, first: int, last: int) -> np.ndarray:
        earlier = {day.astype("datetime64[M]").astype("datetime64[D]") - 1: members for day, members in taken.items()}
        return right(run, earlier, symbols, first, last)

    monkeypatch.setattr(masks, "_in_force", wrong)


def survivors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is listed on the last day of the data is eligible."""
    right = masks.select_members

    def plant_roster(monkeypatch: pytest.MonkeyPatch, dead: set[str]) -> None:
        def wrong(rule: Any, symbols: np.ndarray, *rest: Any) -> Any:
            *others, eligible = rest
            return right(rule, symbols, *others, eligible & ~np.isin(symbols.astype(str), sorted(dead)))

        monkeypatch.setattr(masks, "select_members", wrong)

    take = masks.take_snapshots

    def taking(run: Run, *args: Any) -> Any:
        roster = run.master.roster()
        plant_roster(monkeypatch, set(roster.loc[roster["last_session"].notna(), "sec_id"]))
        return take(run, *args)

    monkeypatch.setattr(masks, "take_snapshots", taking)


def rank_on_todays_market_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Universes are chosen by market caps with the share counts of the last day of the data."""
    take = masks.take_snapshots
    right = masks.select_members

    def taking(run: Run, symbols: np.ndarray, history: Any) -> Any:
        today = history.window("market_cap", symbols, run.last, run.last)[:, 0]
        monkeypatch.setattr(masks, "select_members", lambda rule, ids, cap, *rest: right(rule, ids, today, *rest))
        return take(run, symbols, history)

    monkeypatch.setattr(masks, "take_snapshots", taking)


def axis_in_order_of_death(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stocks stand in the order of their last sessions."""
    right = daily.listed

    def wrong(run: Run, types: Any) -> np.ndarray:
        last = run.master.roster().set_index("sec_id")["last_session"].reindex(right(run, types))
        return last.sort_values(kind="stable").index.to_numpy(object)

    monkeypatch.setattr(daily, "listed", wrong)


def code_of_the_last_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor code means whoever has it on the last day of the data, and nobody was ever taken for another one."""
    right = SecurityMaster.holders

    def wrong(master: SecurityMaster, codes: Any, dates: Any, **more: Any) -> Any:
        return right(master, codes, np.full(len(dates), np.datetime64("2100-01-01")), **more)

    monkeypatch.setattr(SecurityMaster, "holders", wrong)
    monkeypatch.setattr(joining.Join, "believed_owners", lambda join, codes, *rest: np.full(len(codes), "", object))


def owner_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars between an end and the moment when it became known are nobody's, as is known today."""
    monkeypatch.setattr(joining.Join, "believed_owners", lambda join, codes, *rest: np.full(len(codes), "", object))


def attributes_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types and currencies are those of the last day of the data."""
    right = panels.attributes
    ever = np.datetime64("2100-01-01")

    def wrong(rows: pd.DataFrame, sec_ids: Any, dates: Any, instants: Any) -> pd.DataFrame:
        n = len(np.asarray(sec_ids))
        return right(rows, sec_ids, np.repeat(ever, n), np.repeat(ever, n))

    of_type = panels.of_type

    def wrong_type(rows: pd.DataFrame, sec_ids: Any, date: object, instant: object, types: Any) -> Any:
        return of_type(rows, sec_ids, ever, ever, types)

    monkeypatch.setattr(joining, "attributes", wrong)
    monkeypatch.setattr(masks, "of_type", wrong_type)


def backfilled_betas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Betas of a stock without enough returns are its first ones."""
    right = model.cascade

    def wrong(*args: Any) -> Any:
        found = right(*args)
        flat = pd.DataFrame(found.beta.reshape(-1, found.beta.shape[2])).bfill(axis=1).to_numpy()
        return replace(found, beta=np.ascontiguousarray(flat.reshape(found.beta.shape)))

    monkeypatch.setattr(model, "cascade", wrong)


def centred_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window of a session ends five sessions after it, where there are any."""
    right = model_inputs.stock_window

    def wrong(run: Run, *args: Any) -> np.ndarray:
        returns = right(run, *args)
        return np.ascontiguousarray(np.concatenate([returns[:, 5:], returns[:, -5:]], axis=1))

    monkeypatch.setattr(model_inputs, "stock_window", wrong)


def tomorrows_hedged_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session carries what its hedges earned at the next one, where there is one."""
    right = model.hedged_return

    def wrong(*given: Any) -> np.ndarray:
        earned = right(*given)
        return np.concatenate([earned[1:], earned[-1:]])

    monkeypatch.setattr(model, "hedged_return", wrong)


def ranked_on_tomorrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session ranks by the values of the next one, where there is one."""
    right = model.ranks

    def wrong(values: np.ndarray, cohorts: np.ndarray) -> Any:
        return right(np.concatenate([values[1:], values[-1:]]), cohorts)

    monkeypatch.setattr(model, "ranks", wrong)


LEAKS = [
    Leak("share counts from the period's end", in_shares(from_period_end), "ds_daily", ("2018-07-19",)),
    Leak("share counts on the filing day", in_shares(on_the_filing_day), "ds_daily", ("2018-07-30",)),
    Leak("today's share counts", in_shares(latest_for_ever), "ds_daily", ("2018-07-19",)),
    Leak("the class of today", class_of_today, "ds_daily", ("2018-07-19",)),
    Leak("a class before it was known", class_from_its_date, "ds_daily", ("2018-07-19",)),
    Leak("prices filled from later ones", in_panel(backfilled_prices), "ds_daily", ("2018-10-02", "2018-05-24")),
    Leak("returns cut at a percentile of all", in_panel(winsorised_returns), "ds_daily", ("2018-07-19",)),
    Leak("prices adjusted for later splits", adjusted_prices, "ds_daily", ("2018-06-18",)),
    Leak("a correction before it was made", in_facts(corrected_prices_only), "ds_daily", ("2018-09-19",)),
    Leak("a split before it was known", in_facts(splits_from_their_ex_date), "ds_daily", ("2018-10-02",)),
    Leak("a code's last holder", code_of_the_last_holder, "ds_daily", ("2018-12-20", "2018-11-14")),
    Leak("a security before it was known", security_before_it_was_known, "ds_daily", ("2018-09-25", "2019-05-09")),
    Leak("a company's later code", security_before_it_was_known, "ds_daily", ("2019-03-12",)),
    Leak("a column before its security", column_before_its_security_was_known, "ds_daily", ("2018-09-25",)),
    Leak("an axis in the order of death", axis_in_order_of_death, "ds_daily", ("2018-07-19",)),
    Leak("an end before it was known", owner_of_today, "ds_daily", ("2018-07-12",)),
    Leak("a takeover before it was known", owner_of_today, "ds_daily", ("2018-08-08",)),
    Leak("the currency of today", attributes_of_today, "ds_daily", ("2019-02-12",)),
    Leak("the type of today", attributes_of_today, "ds_masks", ("2018-07-03",)),
    Leak("a month end's universe in its own month", month_end_mask_in_its_own_month, "ds_masks", ("2018-07-03",)),
    Leak("survivors only", survivors_only, "ds_masks", ("2018-07-03",)),
    Leak("ranks by today's market cap", rank_on_todays_market_cap, "ds_masks", ("2018-07-03",)),
    Leak("betas filled from later ones", backfilled_betas, "ds_erm3_betas", ("2018-07-19", "2018-05-25")),
    Leak("centred windows", centred_windows, "ds_erm3_betas", ("2018-07-03",)),
    Leak("what hedges earn tomorrow", tomorrows_hedged_return, "ds_erm3_effectiveness", ("2018-07-03",)),
    Leak("ranks of tomorrow", ranked_on_tomorrow, "ds_rankings", ("2018-07-03",)),
]
