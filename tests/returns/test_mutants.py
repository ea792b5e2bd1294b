"""Classic mistakes in return code, each planted once: the checks below must notice every one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.market_data import point_in_time
from pipeline.returns import delisting_returns, events, panel, roster, single_cells
from pipeline.returns.bars import Grid
from pipeline.returns.delistings import Delisting
from pipeline.returns.events import EventTable
from pipeline.returns.ordinary import Ordinary
from pipeline.returns.panel import DailyPanel
from pipeline.returns.total_return import AccruedCells
from pipeline.returns.window import Window
from tests.returns.hand_made import Market, cell, day

NAN = float("nan")


def the_market() -> Market:
    """A little of everything, with known answers."""
    market = Market().stock("CASH", [100.0, 99.5]).dividend("CASH", 1, 1.0)
    market.stock("BOTH", [100.0, 50.5]).split("BOTH", 1, 2, 1).dividend("BOTH", 1, 0.5, basis="post")
    market.stock("REVERSE", [1.13, 18.08]).split("REVERSE", 1, 1, 20)
    market.stock("HALT", [20.0, NAN, NAN, 14.0])
    market.stock("GONE", [2.0 / 0.9, 2.0]).delisting("GONE", 1, "exchange_drop")
    market.list("NWSA", last_session=day(0)).quiet("NWSA", 32.60).bars("NWSA", 0, [32.60])
    market.list("FOXA", first=1).bars("FOXA", 1, [28.60]).dividend("FOXA", 1, 4.0)
    market.owners = {"NWSA": [("1900-01-01", "fox")], "FOXA": [("1900-01-01", "fox")]}
    return market


CODES = ["CASH", "BOTH", "REVERSE", "HALT", "GONE", "fox"]


def check() -> None:
    """What must hold of `the_market`."""
    panel: DailyPanel = the_market().panel(3, codes=CODES)
    assert cell(panel, "CASH", 1)[0] == pytest.approx(0.005)
    assert cell(panel, "BOTH", 1)[0] == pytest.approx(0.02)
    assert cell(panel, "REVERSE", 1)[0] == pytest.approx(-0.2)
    assert np.isnan(cell(panel, "HALT", 1)[0])
    assert cell(panel, "HALT", 3)[0] == pytest.approx(-0.3)
    assert (1 + cell(panel, "GONE", 1)[0]) * (1 + cell(panel, "GONE", 2)[0]) - 1 == pytest.approx(-0.37)
    assert np.isnan(cell(panel, "GONE", 3)[0])
    assert cell(panel, "fox", 1)[0] == pytest.approx(0.0)


def test_the_check_passes_without_a_mutant():
    check()


Patch = Callable[[pytest.MonkeyPatch], None]


def _accrued(change: Callable[[AccruedCells], AccruedCells]) -> Patch:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        right = EventTable.accrue

        def wrong(self: EventTable, *arguments: Any) -> AccruedCells:
            return change(right(self, *arguments))

        monkeypatch.setattr(EventTable, "accrue", wrong)

    return patch


def basis_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    right = events._dividends

    def wrong(these: Any, *more: Any) -> pd.DataFrame:
        swapped = these.dividends["basis"].map({"pre": "post", "post": "pre"})
        return right(replace(these, dividends=these.dividends.assign(basis=swapped)), *more)

    monkeypatch.setattr(events, "_dividends", wrong)


def gap_filled_with_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    right = panel.lay_out

    def wrong(*arguments: Any) -> Grid:
        grid = right(*arguments)
        return replace(grid, close=pd.DataFrame(grid.close).ffill(axis=1).to_numpy(copy=True))

    monkeypatch.setattr(panel, "lay_out", wrong)


def delisting_return_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = delisting_returns._delisting_return

    def wrong(ordinary: Ordinary, i: int, t: int, one: Delisting) -> Any:
        ret, flag = right(ordinary, i, t, one)
        return ret + ordinary.ret[i, t - 1], flag

    monkeypatch.setattr(delisting_returns, "_delisting_return", wrong)


def delisting_return_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel, "delisting_returns", lambda ordinary: [])


def event_keyed_by_ticker(monkeypatch: pytest.MonkeyPatch) -> None:
    right = point_in_time.build_facts

    def wrong(tables: Any, master: Any, *more: Any) -> Any:
        found = right(tables, master, *more)
        return replace(found, dividends=found.dividends.assign(sec_id=tables.dividends["vendor_code"].to_numpy()))

    monkeypatch.setattr("tests.returns.hand_made.build_facts", wrong)


def moves_repaired_without_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    right = single_cells.judge

    def wrong(window: Window, rules: Any, max_gap: int) -> Any:
        judgement = right(window, rules, max_gap)
        return judgement._replace(ret=0.0) if abs(judgement.ret) > 0.15 else judgement

    monkeypatch.setattr(single_cells, "judge", wrong)


MUTANTS: dict[str, Patch] = {
    "a dividend is ignored": _accrued(lambda a: a._replace(cash=np.zeros_like(a.cash))),
    "the basis is swapped": basis_swapped,
    "a split is inverted": _accrued(lambda a: a._replace(num=a.den, den=a.num)),
    "a gap is filled with zeros": gap_filled_with_zeros,
    "the delisting return is summed": delisting_return_summed,
    "the delisting return is left out": delisting_return_left_out,
    "an event is keyed by its ticker": event_keyed_by_ticker,
    "large moves are repaired": moves_repaired_without_an_event,
}


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_noticed(name, monkeypatch):
    MUTANTS[name](monkeypatch)
    with pytest.raises(AssertionError):
        check()


def test_the_panel_is_made_by_the_functions_that_the_mutants_change():
    assert roster.event_table is events.event_table
    assert panel.delisting_returns is delisting_returns.delisting_returns
