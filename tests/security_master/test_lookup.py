"""What the pipeline and people ask of a master: codes, rosters, labels, histories, explanations, changes, coverage."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from security_master import SecurityMaster, UnknownSecurity, coverage_by_year
from tests.security_master.tables import build, change, delisting, listing

# -- assign -------------------------------------------------------------------------------------------------------


def test_a_code_belongs_to_its_holder_from_the_first_to_the_last_session(tmp_path: Path) -> None:
    rows = [listing("ABC", "2010-01-04", "2012-06-29", name="One"), listing("ABC", "2013-01-02", name="Two")]
    master, _ = build(tmp_path / "m.sqlite", securities=rows)
    days = ["2010-01-03", "2010-01-04", "2012-06-29", "2012-06-30", "2013-01-01", "2013-01-02", "2099-01-01"]
    first, second = (str(s) for s in master.assign(["ABC", "ABC"], ["2010-01-04", "2013-01-02"]))
    assert master.assign(["ABC"] * 7, days).tolist() == ["", first, first, "", "", second, second]


def test_unknown_codes_and_missing_dates_belong_to_nobody(world_master: SecurityMaster) -> None:
    found = world_master.assign(
        ["NOSUCH", "SPY", "SPY"], np.array(["2020-01-02", "NaT", "2020-01-02"], "datetime64[D]")
    )
    assert found.tolist()[:2] == ["", ""]
    assert found[2] != ""
    assert world_master.assign([], []).tolist() == []


def test_categories_of_codes_are_used_as_they_are(world_master: SecurityMaster) -> None:
    codes = pd.Categorical(["SPY", "NOSUCH", "XLK", "SPY"])
    found = world_master.assign(codes, np.full(4, np.datetime64("2020-01-02")))
    assert found.tolist() == world_master.assign(["SPY", "NOSUCH", "XLK", "SPY"], ["2020-01-02"] * 4).tolist()


def test_a_successor_that_lists_the_day_after_is_found_when_asked_ahead(world_master: SecurityMaster) -> None:
    assert world_master.assign(["DWDP"], ["2017-08-31"])[0] == ""
    ahead = world_master.assign(["DWDP"], ["2017-08-31"], ahead_days=30)[0]
    assert ahead == world_master.assign(["DWDP"], ["2017-09-01"])[0]
    assert world_master.assign(["DWDP"], ["2017-07-31"], ahead_days=30)[0] == ""


def test_codes_and_dates_must_come_in_pairs(world_master: SecurityMaster) -> None:
    with pytest.raises(ValueError, match="one date for each name"):
        world_master.assign(["SPY", "XLK"], ["2020-01-02"])


def test_a_master_without_securities_answers_nobody(tmp_path: Path) -> None:
    master, report = build(tmp_path / "m.sqlite", securities=[])
    assert report.counts["security"] == 0
    assert master.assign(["SPY"], ["2020-01-02"]).tolist() == [""]
    assert master.roster().empty


# -- roster and labels --------------------------------------------------------------------------------------------


def test_the_roster_is_ordered_by_first_session_and_id(world_master: SecurityMaster) -> None:
    roster = world_master.roster()
    assert roster["sec_id"].is_unique
    order = list(zip(roster["first_session"], roster["sec_id"], strict=True))
    assert order == sorted(order)
    meta = roster.set_index("sec_id").loc[world_master.resolve("META", "2022-06-09")]
    assert (meta["vendor_code"], meta["sec_type"], meta["currency"], meta["exchange"]) == (
        "META",
        "common",
        "USD",
        "NASDAQ",
    )
    assert meta["first_session"] == pd.Timestamp("2012-05-18")
    assert pd.isna(meta["last_session"])


def test_the_roster_of_then_has_neither_later_listings_nor_later_ends(world_master: SecurityMaster) -> None:
    then = world_master.roster(known_as_of="2017-08-15T00:00:00Z").set_index("sec_id")
    assert world_master.resolve("DWDP", "2018-01-02") not in then.index
    assert pd.isna(then.loc[world_master.resolve("DOW", "2016-01-04"), "last_session"])


def label(master: SecurityMaster, ticker: str, then: str, as_of: str) -> tuple[str, str]:
    """Labels at `as_of` of the security that had a ticker `then`."""
    tickers, unique = master.labels([master.resolve(ticker, then, mode="any")], as_of)
    return str(tickers[0]), str(unique[0])


def test_a_label_is_the_ticker_at_the_date_or_the_last_one_before(world_master: SecurityMaster) -> None:
    assert label(world_master, "META", "2022-06-09", "2022-06-08") == ("FB", "FB")
    assert label(world_master, "META", "2022-06-09", "2022-06-09") == ("META", "META")
    assert label(world_master, "DWDP", "2018-01-02", "2020-01-02") == ("DD", "DD")
    assert label(world_master, "META", "2022-06-09", "2010-01-04") == ("", "")


def test_former_holders_of_a_ticker_are_numbered_from_the_oldest(world_master: SecurityMaster) -> None:
    assert label(world_master, "DD", "2016-01-04", "2016-01-04") == ("DD", "DD")
    assert label(world_master, "DD", "2016-01-04", "2018-01-02") == ("DD", "DD#1")
    assert label(world_master, "DD", "2016-01-04", "2020-01-02") == ("DD", "DD#1")
    assert label(world_master, "FB", "2003-03-28", "2013-01-02") == ("FB", "FB#1")
    assert label(world_master, "FB", "2025-06-24", "2025-06-24") == ("FB", "FB")
    assert label(world_master, "SHLD", "2018-10-23", "2024-01-02") == ("SHLD", "SHLD#1")


def test_a_number_once_given_stays_as_later_holders_come(tmp_path: Path) -> None:
    rows = [
        listing(f"V{k}", f"20{10 + 2 * k}-01-04", f"20{11 + 2 * k}-01-04", ticker="ABC", name=f"N{k}") for k in range(4)
    ]
    master, _ = build(tmp_path / "m.sqlite", securities=rows)
    sec_ids = master.roster()["sec_id"].tolist()
    for year in range(2012, 2020):
        unique = master.labels(sec_ids, f"{year}-06-01")[1].tolist()
        for k, shown in enumerate(unique):
            if year > 2011 + 2 * k:
                assert shown == f"ABC#{k + 1}"
        assert len(set(filter(None, unique))) == len(list(filter(None, unique)))


def test_unique_labels_are_unique_at_every_date(world_master: SecurityMaster) -> None:
    sec_ids = world_master.roster()["sec_id"].to_numpy(object)
    for year in range(2002, 2027):
        unique = [u for u in world_master.labels(sec_ids, f"{year}-06-30")[1] if u]
        assert len(set(unique)) == len(unique)


def test_a_listed_holder_comes_before_one_quoted_over_the_counter(tmp_path: Path) -> None:
    rows = [listing("OTC1", "2010-01-04", ticker="ABC", exchange="OTC"), listing("NEW1", "2012-01-03", ticker="ABC")]
    master, _ = build(tmp_path / "m.sqlite", securities=rows)
    sec_ids = master.roster()["sec_id"].tolist()
    assert master.labels(sec_ids, "2013-01-02")[1].tolist() == ["ABC#1", "ABC"]


# -- histories, explanations, changes -----------------------------------------------------------------------------


def test_the_history_of_a_security_tells_tickers_listings_identifiers_classes_and_end(
    world_master: SecurityMaster,
) -> None:
    meta = world_master.resolve("META", "2022-06-09")
    assert meta is not None
    history = world_master.history(meta)
    assert history["what"].drop_duplicates().tolist() == ["ticker", "listing", "name", "identifier", "class"]
    tickers = history[history["what"] == "ticker"]
    assert tickers[["value", "valid_from", "valid_to"]].to_numpy().tolist() == [
        ["FB", "2012-05-18", "2022-06-09"],
        ["META", "2022-06-09", "9999-12-31"],
    ]
    assert world_master.history(meta, as_of="2015-01-02").query("what == 'ticker'")["value"].tolist() == ["FB"]
    then = world_master.history(meta, known_as_of="2015-01-02T00:00:00Z").query("what == 'ticker'")
    assert then[["value", "valid_to"]].to_numpy().tolist() == [["FB", "9999-12-31"]]
    with pytest.raises(UnknownSecurity, match="SAAAAAAAA"):
        world_master.history("SAAAAAAAA")


def test_an_explanation_shows_the_rows_and_their_evidence(world_master: SecurityMaster) -> None:
    steps = world_master.explain("GOOG", "2014-04-02")
    assert steps["step"].drop_duplicates().tolist() == ["ticker", "listing", "identity"]
    assert set(steps["sec_id"]) == {world_master.resolve("GOOG", "2014-04-02")}
    ticker = steps.iloc[0]
    assert (ticker["valid_from"], ticker["valid_to"], ticker["batch_id"]) == ("2004-08-19", "2014-04-03", "world")
    assert len(ticker["evidence"]) == 16
    assert world_master.explain("FB", "2010-01-04").empty


def test_the_explanation_of_a_contested_ticker_names_the_candidates(tmp_path: Path) -> None:
    rows = [
        listing("A", "2006-01-03", "2013-12-31", ticker="ABC", name="First"),
        listing("B", "2012-01-03", ticker="ABC", name="Second"),
    ]
    master, _ = build(tmp_path / "m.sqlite", securities=rows)
    steps = master.explain("ABC", "2012-06-01")
    assert steps["step"].tolist() == ["contest", "contest"]


def test_changes_tell_what_was_learnt_and_withdrawn_in_a_window(world_master: SecurityMaster) -> None:
    found = world_master.changes("2022-06-08T00:00:00Z", "2022-06-09T00:00:00Z")
    tickers = found[found["table"] == "ticker_map"]
    told = {
        (row.change, json.loads(row.fact)["ticker"], json.loads(row.fact)["valid_to"]) for row in tickers.itertuples()
    }
    assert told == {
        ("learnt", "META", "9999-12-31"),
        ("learnt", "FB", "2022-06-09"),
        ("withdrawn", "FB", "9999-12-31"),
    }
    assert world_master.changes("2022-06-09T00:00:00Z", "2022-06-09T01:00:00Z").empty
    assert found["at"].is_monotonic_increasing


def test_adjoining_windows_of_changes_share_nothing_and_miss_nothing(world_master: SecurityMaster) -> None:
    edges = ["2002-01-01T00:00:00Z", "2009-06-02T00:00:00Z", "2017-08-31T20:00:00Z", "2030-01-01T00:00:00Z"]
    parts = [world_master.changes(a, b) for a, b in pairwise(edges)]
    whole = world_master.changes(edges[0], edges[-1])
    assert sum(len(part) for part in parts) == len(whole)


def test_the_lineage_of_a_spun_off_company_leads_back_to_its_parent(world_master: SecurityMaster) -> None:
    dow = world_master.resolve("DOW", "2019-04-02")
    assert dow is not None
    edges = world_master.lineage(dow)
    assert edges[["event", "date", "from_sec_id"]].to_numpy().tolist() == [
        ["spin_off", "2019-04-02", world_master.resolve("DWDP", "2019-04-02")]
    ]
    assert world_master.lineage(dow, as_of="2019-04-01").empty
    assert world_master.lineage(dow, known_as_of="2019-03-01T00:00:00Z").empty


# -- coverage -----------------------------------------------------------------------------------------------------


def test_coverage_counts_by_year_and_estimates_the_forgotten(tmp_path: Path) -> None:
    full = [listing(f"V{k:03d}", "2010-01-04", f"{2011 + k % 10}-06-30") for k in range(50)]
    full += [listing(f"W{k:03d}", "2010-01-04") for k in range(50)]
    complete, _ = build(
        tmp_path / "all.sqlite",
        securities=full,
        delistings=[delisting(row["vendor_code"], row["last_session"], "merger") for row in full[:50]],
        shares=[
            {"vendor_code": "W000", "period_end": "2010-03-31", "filed_at": "2010-05-03T21:00:00", "shares": 1.0}
            | {"known": "2010-05-03T21:00:00"}
        ],
        classification=[
            {
                "vendor_code": f"W{k:03d}",
                "valid_from": "2012-01-03",
                "fs_industry_code": "2510",
                "known": "2012-01-03T10:00",
            }
            for k in range(50)
        ],
    )
    survivors, _ = build(tmp_path / "survivors.sqlite", securities=full[50:])
    years = range(2010, 2021)
    sec_ids = complete.roster()["sec_id"]
    priced = pd.DataFrame([(year, s) for year in years for s in sec_ids[:80]], columns=["year", "sec_id"])
    report = coverage_by_year(complete, priced).set_index("year")
    assert report.loc[2010, ["known", "priced", "classified", "with_shares", "ended", "survivors"]].tolist() == [
        100,
        80,
        0,
        1,
        0,
        50,
    ]
    assert report.loc[2012, ["known", "classified", "with_shares", "ended"]].tolist() == [95, 50, 0, 5]
    assert (report["missing_share"] < 0.05).all()
    of_survivors = coverage_by_year(survivors, priced).set_index("year")
    assert of_survivors.loc[2010, "missing_share"] == pytest.approx(1 - 0.93**10, abs=0.01)
    assert of_survivors.loc[2020, "missing_share"] == 0


def test_coverage_measures_the_bias_of_looking_at_survivors_only(tmp_path: Path) -> None:
    rows = [listing("DEAD", "2010-01-04", "2010-12-30"), listing("ALIVE", "2010-01-04")]
    master, _ = build(tmp_path / "m.sqlite", securities=rows)
    dead, alive = (str(s) for s in master.assign(["DEAD", "ALIVE"], ["2010-01-04"] * 2))
    priced = pd.DataFrame({"year": [2010, 2010, 2011], "sec_id": [dead, alive, alive]})
    returns = priced.assign(total_return=[-0.5, 0.1, 0.2])
    report = coverage_by_year(master, priced, returns=returns).set_index("year")
    assert report.loc[2010, "survivors_bias"] == pytest.approx(0.1 - (-0.2))
    assert report.loc[2011, "survivors_bias"] == 0


def test_a_ticker_change_alone_leaves_every_count(tmp_path: Path) -> None:
    master, report = build(
        tmp_path / "m.sqlite",
        securities=[listing("ABC", "2010-01-04")],
        ticker_changes=[change("ABC", "2012-01-03", "OLD", "ABC")],
    )
    assert report.counts["security"] == len(master.roster()) == 1
