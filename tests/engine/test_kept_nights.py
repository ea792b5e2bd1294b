"""A night that finds bars kept by earlier ones publishes what a night without them does, bit for bit, and its work does
not grow with the years that were delivered."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.calendar import xnys
from pipeline.engine import execution
from pipeline.market_data import delivery
from pipeline.quality.deliveries import TABLES_FILE
from pipeline.quality.drift import DELIVERED_FILE
from pipeline.quality.findings import FINDINGS_FILE
from pipeline.settings import ModelParameters, Settings, SimulatedMarket
from pipeline.sources import FilesSource, SourceTables
from pipeline.sources.kept import file as kept_file
from pipeline.sources.kept import parts
from pipeline.store.overlay import Overlay
from tests.engine.published_market import Delivered, differences, known_at, published, settings_for, tables_of
from tests.laid import lay

MODEL = ModelParameters(window=21, min_obs=11, half_life=10.0, min_peers=2)
MARKET = SimulatedMarket(stocks=24, first_session="2018-01-02", last_session="2019-06-28")
START, EVE, NIGHTS = "2018-12-03", "2019-06-24", ("2019-06-25", "2019-06-26", "2019-06-27")
"""The first night lies so far after START that no window reaches into the warm-up."""


def settings(root: Path, tables: Path) -> Settings:
    return settings_for(root, source="files", source_path=str(tables), simulated=MARKET, model=MODEL)


@pytest.fixture(scope="module")
def evening_before(once: Callable) -> Path:
    """A root published through EVE. Only copy it."""

    def make(place: Path) -> None:
        execution.execute(settings(place / "root", place), START, EVE, source=known_at(tables_of(MARKET), EVE))

    return once("engine-kept-eve", make) / "root"


def with_a_late_word(tables: SourceTables, night: str) -> SourceTables:
    """The delivery of a night with a bar of the year before that is told anew, and a dividend that nobody knew of."""
    evening = pd.Timestamp(f"{night}T20:10")
    prices = tables.prices
    bar = prices[prices["date"] == "2018-08-15"].iloc[[3]]
    again = bar.assign(close=bar["close"] * 1.01, known_from=evening, known_assumed=False)
    paid = tables.dividends.iloc[[0]].assign(
        vendor_code=str(bar["vendor_code"].iloc[0]),
        ex_date=bar["date"].iloc[0],
        known_from=evening,
        known_assumed=False,
    )
    return replace(
        tables,
        prices=pd.concat([prices, again], ignore_index=True).astype(dict(prices.dtypes)),
        dividends=pd.concat([tables.dividends, paid], ignore_index=True).astype(dict(tables.dividends.dtypes)),
    )


@pytest.mark.slow
def test_nights_with_kept_bars_publish_what_nights_without_them_do(evening_before, tmp_path, monkeypatch):
    kept, whole = (shutil.copytree(evening_before, tmp_path / name, symlinks=True) for name in ("kept", "whole"))
    seen: list[int] = []
    inner = delivery.build_facts

    def counted(tables, *given):
        seen.append(-1 if tables.earlier is None else int(tables.earlier.summary["rows"].sum()))
        return inner(tables, *given)

    monkeypatch.setattr(delivery, "build_facts", counted)
    for night in NIGHTS:
        told = known_at(tables_of(MARKET), night).load()
        told = with_a_late_word(told, night) if night >= NIGHTS[1] else told
        laid = lay(tmp_path / "tables", told.frames)
        if night == NIGHTS[2]:
            for path in (kept / "raw").rglob("*.bars"):
                path.write_bytes(path.read_bytes()[:-100])
        ours = execution.execute(settings(kept, laid), night, night)
        theirs = execution.execute(settings(whole, laid), night, night, source=Delivered(FilesSource(laid).load()))
        assert differences(published(kept), published(whole)) == []
        assert ours.findings == theirs.findings
        for name in (FINDINGS_FILE, DELIVERED_FILE):
            pd.testing.assert_frame_equal(pd.read_parquet(kept / name), pd.read_parquet(whole / name), check_exact=True)
        assert json.loads((kept / TABLES_FILE).read_text()) == json.loads((whole / TABLES_FILE).read_text())
    assert [rows > 1000 for rows in seen] == [True, False] * 3, "every second run had its earlier bars kept"


@dataclass
class Work:
    """What a night did. delivered: bars; parsed: of these; read: bytes of kept bars; bars: those that the facts
    were made of; written: objects staged; queries: statements put to a master."""

    delivered: int = 0
    parsed: int = 0
    read: int = 0
    bars: int = 0
    written: int = 0
    queries: int = 0


@contextmanager
def counted_work(patch: pytest.MonkeyPatch) -> Iterator[Work]:
    work = Work()
    typed, block, facts = parts.type_table, kept_file.KeptFile._block, delivery.build_facts
    stage, connect = Overlay.stage, sqlite3.connect

    def type_table(raw):
        work.parsed += raw.cells.num_rows
        return typed(raw)

    def read(self, *at):
        data = block(self, *at)
        work.read += len(data)
        return data

    def build(*given):
        made = facts(*given)
        work.delivered += given[0].origins["prices"].rows
        work.bars += len(made.prices)
        return made

    def staged(self, key, data):
        work.written += 1
        stage(self, key, data)

    def asked(statement):
        work.queries += 1

    def connected(*given, **named):
        connection = connect(*given, **named)
        connection.set_trace_callback(asked)
        return connection

    with patch.context() as within:
        within.setattr(Overlay, "stage", staged)
        within.setattr(sqlite3, "connect", connected)
        within.setattr(parts, "type_table", type_table)
        within.setattr(kept_file.KeptFile, "_block", read)
        within.setattr(delivery, "build_facts", build)
        yield work


def work_of_a_night(years: int, place: Path, patch: pytest.MonkeyPatch) -> Work:
    """The night of the last session but one, of a delivery of so many years to which it adds a day."""
    patch.setattr(kept_file, "BLOCK", 8)  # a market this small would be few blocks of the usual size
    market = SimulatedMarket(stocks=12, first_session=f"{2020 - years}-01-02", last_session="2019-12-31")
    eve, night = (str(day) for day in xnys().between("2019-12-27", "2019-12-30"))
    given = settings(place / "root", place / "tables")
    lay(place / "tables", known_at(tables_of(market), eve).load().frames)
    for first, last in (("2019-06-03", "2019-12-26"), (eve, eve)):
        execution.execute(given, first, last, until="ds_daily")
    lay(place / "tables", known_at(tables_of(market), night).load().frames)
    with counted_work(patch) as work:
        execution.execute(given, night, night, until="ds_daily")
    return work


@pytest.mark.slow
def test_a_night_on_ten_years_does_the_work_of_one_on_two(tmp_path, monkeypatch):
    two, ten = (work_of_a_night(years, tmp_path / str(years), monkeypatch) for years in (2, 10))
    assert ten.delivered > 4 * two.delivered
    assert ten.parsed <= 1.2 * two.parsed, "the part of the last half-year alone"
    assert max(ten.read / two.read, ten.bars / two.bars) <= 2, "all bars of a few securities, in a market of forty"
    assert 0 < ten.written <= two.written, "the chunks of one session"
    assert 0 < ten.queries <= two.queries, "of the master, by the number of tables"
    assert ten.bars < 0.15 * ten.delivered
