"""Factor ETFs: when each is in force, what stands in before, and that tables alone decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.calendar import xnys
from security_master import FactorEtfs, SecurityMaster
from security_master.factor_etfs import make_factor_etfs
from security_master.taxonomy import TaxonomyError, shipped
from tests.security_master.tables import build, change, listing

CALENDAR = xnys()
RULE: dict[str, Any] = {"calendar": CALENDAR.sessions, "min_obs": 126}


@pytest.fixture(scope="module")
def etfs(world_master: SecurityMaster) -> FactorEtfs:
    return world_master.factor_etfs()


def at(etfs: FactorEtfs, code: int, day: str) -> tuple[str, str]:
    """Sector and subsector ETF of an industry at a session."""
    codes, sessions = np.array([[code]], np.int16), np.array([day], "datetime64[D]")
    found = [
        int(positions(codes, sessions, **RULE)[0, 0]) for positions in (etfs.sector_positions, etfs.subsector_positions)
    ]
    sector, subsector = ("" if position < 0 else etfs.tickers[position] for position in found)
    return sector, subsector


def test_the_order_is_market_then_the_table_then_the_taxonomy_then_stand_ins(etfs: FactorEtfs) -> None:
    table, taxonomy = shipped("factor_etfs"), shipped("taxonomy")
    assert etfs.tickers[etfs.market] == "SPY"
    assert list(etfs.tickers[: len(table)]) == table["etf"].tolist()
    rest = list(etfs.tickers[len(table) :])
    named = set(taxonomy["sector_etf"]) | set(taxonomy["subsector_etf"])
    assert rest[-3:] == ["IYR", "IBB", "KCE"]
    assert set(rest[:-3]) == named - set(table["etf"])
    assert len(set(etfs.tickers)) == len(etfs.tickers)


def test_an_etf_takes_over_when_it_has_enough_returns(etfs: FactorEtfs) -> None:
    first = CALENDAR.ordinal("2018-06-19")
    cutover = str(CALENDAR.sessions[first + 126])
    before = str(CALENDAR.sessions[first + 125])
    assert at(etfs, 5030, before) == ("IYZ", "FDN")
    assert at(etfs, 5030, cutover) == ("XLC", "FDN")
    assert at(etfs, 5030, "2010-01-04")[0] == "IYZ"


def roster(without: str = "") -> FactorEtfs:
    """All factor ETFs, each with a security, but for one."""
    taxonomy, table = shipped("taxonomy"), shipped("factor_etfs")
    named = {*table["etf"], *table["proxy"], *taxonomy["sector_etf"], *taxonomy["subsector_etf"]} - {"", without}
    return make_factor_etfs(taxonomy, table, {ticker: f"S{ticker}" for ticker in named}, "test")


def test_an_etf_that_the_source_lacks_gives_way_to_its_stand_in_once_that_is_in_force() -> None:
    day = str(CALENDAR.sessions[CALENDAR.ordinal("2017-03-08") + 126])
    before = str(CALENDAR.sessions[CALENDAR.ordinal("2017-03-08") + 125])
    assert at(roster(), 2040, before) == at(roster(), 2040, day) == ("XLI", "IYJ")
    assert at(roster(without="IYJ"), 2040, before) == ("XLI", "")
    assert at(roster(without="IYJ"), 2040, day) == ("XLI", "PAVE")
    assert roster(without="IYJ").stand_ins == {"IYJ": "PAVE"}


def test_a_whole_roster_knows_no_stand_in() -> None:
    whole, table = roster(), shipped("stand_ins")
    assert whole.stand_ins == {}
    assert set(table["etf"]) | set(table["stand_in"]) <= set(whole.tickers)
    assert not set(table["etf"]) & set(table["stand_in"]), "a stand-in has none itself"
    lacking = roster(without="IYJ")
    assert lacking.tickers == whole.tickers, "codes of `fact` stay when an ETF is delivered later"
    rows = {tuple(pair) for pair in lacking.pairs.tolist()} - {tuple(pair) for pair in whole.pairs.tolist()}
    assert {whole.tickers[sub] for sub, _ in rows} <= {"PAVE"}


def test_without_a_proxy_there_is_none_until_then(etfs: FactorEtfs) -> None:
    first = CALENDAR.ordinal("2010-08-25")  # AMLP
    assert at(etfs, 1140, str(CALENDAR.sessions[first + 125])) == ("XLE", "")
    assert at(etfs, 1140, str(CALENDAR.sessions[first + 126])) == ("XLE", "AMLP")


def test_a_stand_in_that_is_the_sectors_etf_is_left_equal(etfs: FactorEtfs) -> None:
    assert at(etfs, 5010, "2010-01-04") == ("IYZ", "IYZ")
    assert at(etfs, 5010, "2020-01-02") == ("XLC", "IYZ")


def test_unclassified_stocks_have_no_etf(etfs: FactorEtfs) -> None:
    assert at(etfs, 0, "2020-01-02") == ("", "")
    assert at(etfs, 9999, "2020-01-02") == ("", "")
    with pytest.raises(ValueError, match="four digits"):
        etfs.sector_positions(np.array([[10000]]), CALENDAR.sessions[:1], **RULE)


def test_an_etf_older_than_the_calendar_is_always_in_force(etfs: FactorEtfs) -> None:
    first = CALENDAR.sessions[:1]
    position = etfs.position("SPY")
    assert etfs.in_force(first, **RULE)[position, 0] == position
    xle = etfs.position("XLE")  # first session 1998-12-22, after the calendar begins
    assert etfs.in_force(first, **RULE)[xle, 0] == -1


def test_every_pair_that_can_occur_is_listed_and_no_other(etfs: FactorEtfs) -> None:
    codes = np.array(sorted(etfs.sector_of), np.int16)
    sessions = CALENDAR.sessions[::5]
    panel = np.repeat(codes[:, None], len(sessions), axis=1)
    sector = etfs.sector_positions(panel, sessions, **RULE)
    subsector = etfs.subsector_positions(panel, sessions, **RULE)
    both = (sector >= 0) & (subsector >= 0) & (sector != subsector)
    occurring = set(zip(subsector[both].tolist(), sector[both].tolist(), strict=True))
    listed = set(map(tuple, etfs.pairs.tolist()))
    assert occurring <= listed
    assert (etfs.pairs[:, 0] != etfs.pairs[:, 1]).all()
    assert len(listed) == len(etfs.pairs)


def test_the_home_pair_of_a_subsector_etf_follows_the_etf_of_its_sector(etfs: FactorEtfs) -> None:
    sessions = np.array(["2010-01-04", "2020-01-02"], "datetime64[D]")
    rows = etfs.home_pairs(sessions, **RULE)
    fdn = etfs.position("FDN")
    pairs = [tuple(etfs.tickers[p] for p in etfs.pairs[row]) for row in rows[fdn]]
    assert pairs == [("FDN", "IYZ"), ("FDN", "XLC")]
    assert (rows[etfs.market] == -1).all()
    assert rows[etfs.position("IYZ")].tolist()[0] == -1  # before XLC it is the sector's ETF itself
    assert etfs.pairs[rows[etfs.position("IBB"), 1]].tolist() == [etfs.position("IBB"), etfs.position("XLV")]


def test_sec_ids_are_those_of_etfs_and_empty_where_the_source_has_none(
    etfs: FactorEtfs, world_master: SecurityMaster
) -> None:
    by_ticker = dict(zip(etfs.tickers, etfs.sec_ids, strict=True))
    assert by_ticker["SPY"] == world_master.resolve("SPY", "2020-01-02")
    assert by_ticker["XLC"] == world_master.resolve("XLC", "2020-01-02")
    assert by_ticker["SMH"] == ""


def test_a_stock_with_the_ticker_of_a_factor_etf_is_not_taken_for_it(tmp_path: Path) -> None:
    rows = [
        listing("URA_old", "2002-01-02", "2009-06-30", ticker="URA", name="Uranus Corp"),
        listing("URA", "2010-11-05", type="etf"),
        listing("SPY", "2002-01-02", type="etf"),
    ]
    master, _ = build(tmp_path / "m.sqlite", securities=rows)
    found = master.factor_etfs()
    assert found.sec_ids[found.position("URA")] == master.assign(["URA"], ["2011-01-03"])[0]


def test_a_later_reuse_of_a_factor_etfs_ticker_changes_nothing(tmp_path: Path) -> None:
    rows = [
        listing("JETS", "2015-04-30", "2022-12-30", type="etf"),
        listing("JETS2", "2024-01-03", type="etf", ticker="JETS"),
    ]
    master, _ = build(tmp_path / "m.sqlite", securities=rows)
    found = master.factor_etfs()
    assert found.sec_ids[found.position("JETS")] == master.assign(["JETS"], ["2016-01-04"])[0]


def test_an_etf_that_was_renamed_is_found_by_its_ticker(tmp_path: Path) -> None:
    rows = [listing("SMH", "2006-01-03", type="etf", ticker="SMHX")]
    master, _ = build(
        tmp_path / "m.sqlite", securities=rows, ticker_changes=[change("SMH", "2012-01-03", "SMHX", "SMH")]
    )
    found = master.factor_etfs()
    assert found.sec_ids[found.position("SMH")] == master.roster()["sec_id"].iloc[0]


def test_the_sources_tables_override_the_shipped_ones_and_each_version_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    build(path, securities=[listing("SPY", "2002-01-02", type="etf")])[0].close()
    taxonomy = shipped("taxonomy").replace({"subsector_etf": {"IGV": "XSW"}})
    master, _ = build(tmp_path / "n.sqlite", batch_id="next", previous=path, taxonomy=taxonomy)
    found = master.factor_etfs()
    assert "XSW" in found.tickers
    assert at(found, 2510, "2020-01-02") == ("XLK", "XSW")
    versions = master._store.rows("SELECT DISTINCT taxonomy_version FROM taxonomy")
    assert len(versions) == 2
    assert master.taxonomy().set_index("fs_industry_code").loc[2510, "subsector_etf"] == "XSW"


def test_a_later_delivery_without_the_tables_keeps_the_last_ones(tmp_path: Path) -> None:
    taxonomy = shipped("taxonomy").replace({"subsector_etf": {"IGV": "XSW"}})
    build(tmp_path / "m.sqlite", securities=[listing("SPY", "2002-01-02", type="etf")], taxonomy=taxonomy)[0].close()
    more = [listing("SPY", "2002-01-02", type="etf"), listing("QQQ", "2002-01-02", type="etf")]
    master, _ = build(tmp_path / "n.sqlite", batch_id="next", previous=tmp_path / "m.sqlite", securities=more)
    assert "XSW" in master.factor_etfs().tickers


@pytest.mark.parametrize(
    ("taxonomy", "factor_etfs", "problem"),
    [
        (None, lambda t: t[t["role"] != "market"], "one row with role 'market'"),
        (None, lambda t: pd.concat([t, t.iloc[[5]]]), "listed more than once: XLP"),
        (None, lambda t: t.replace({"proxy": {"IYZ": "XLC"}}), "circle"),
        (lambda t: pd.concat([t, t.iloc[[0]]]), None, "listed more than once: 1110"),
        (lambda t: t.replace({"fs_industry_code": {"1110": "0110"}}), None, "four digits"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(
    tmp_path: Path, taxonomy: Any, factor_etfs: Any, problem: str
) -> None:
    tables: dict[str, Any] = {"securities": [listing("SPY", "2002-01-02", type="etf")]}
    if taxonomy is not None:
        tables["taxonomy"] = taxonomy(shipped("taxonomy"))
    if factor_etfs is not None:
        tables["factor_etfs"] = factor_etfs(shipped("factor_etfs"))
    with pytest.raises(TaxonomyError, match=problem):
        build(tmp_path / "m.sqlite", **tables)
    assert not (tmp_path / "m.sqlite").exists()


def test_the_etfs_of_one_stock_at_a_session(world_master: SecurityMaster) -> None:
    meta = world_master.resolve("META", "2022-06-09")
    assert meta is not None
    assert world_master.etfs(meta, "2017-06-09", **RULE) == ("XLK", "IGV")
    assert world_master.etfs(meta, "2018-10-01", **RULE) == ("IYZ", "FDN")  # a new sector, whose ETF is still too young
    assert world_master.etfs(meta, "2019-06-10", **RULE) == ("XLC", "FDN")
