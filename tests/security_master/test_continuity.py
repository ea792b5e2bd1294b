"""When an id survives: one test for each continuity rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from security_master import IdentityDecision, SecurityMaster
from tests.security_master.tables import build, change, delisting, listing


def ids(master: SecurityMaster, *listed: tuple[str, str]) -> list[str]:
    """The security of each (vendor code, session)."""
    return [str(s) for s in master.assign([code for code, _ in listed], [day for _, day in listed])]


@pytest.mark.parametrize(
    ("listed", "same"),
    [
        ([("META", "2022-06-08"), ("META", "2022-06-09")], True),  # ticker and name change
        ([("ORCL", "2013-07-12"), ("ORCL", "2013-07-15")], True),  # exchange move
        ([("ETN", "2012-11-30"), ("ETN", "2012-12-03")], True),  # redomicile, Inc to plc: new ISIN, CUSIP and CIK
        ([("C", "2011-05-06"), ("C", "2011-05-09")], True),  # reverse split: new ISIN and CUSIP
        ([("GOOGL", "2015-10-02"), ("GOOGL", "2015-10-05")], True),  # holding company, 1:1
        ([("DWDP", "2019-05-31"), ("DD", "2019-06-03")], True),  # survivor under another code, known by a ticker change
        ([("DD_old", "2017-08-31"), ("DWDP", "2017-09-01")], False),  # merger of equals into a new company
        ([("DOW_old", "2017-08-31"), ("DWDP", "2017-09-01")], False),
        ([("FOXA", "2013-06-28"), ("FOXA", "2013-07-01")], True),  # parent of a spin-off
        ([("FOXA", "2013-06-28"), ("NWSA", "2013-07-01")], False),  # its child, which takes its ticker
        ([("GOOGL", "2014-04-02"), ("GOOGL", "2014-04-03")], True),  # the class that was there
        ([("GOOGL", "2014-04-02"), ("GOOG", "2014-04-03")], False),  # the class that is distributed
        ([("GM_old", "2009-06-01"), ("MTLQQ", "2009-06-02")], True),  # bankrupt, over the counter
        ([("MTLQQ", "2010-11-18"), ("GM", "2010-11-18")], False),  # the company that emerges
        ([("BBBY", "2023-05-02"), ("BBBYQ", "2023-05-03")], True),  # delisted to the OTC market
        ([("GGP", "2009-04-15"), ("GGP", "2010-03-05")], True),  # leaves and returns
        ([("QQQ", "2004-11-30"), ("QQQ", "2011-03-23")], True),  # its ticker comes back to it
        ([("GOOCV", "2014-04-02"), ("GOOG", "2014-04-03")], False),  # when-issued line
        ([("SHLD", "2018-10-23"), ("SHLD", "2023-09-12")], False),  # one code, two companies
        ([("VXX_old", "2019-01-29"), ("VXX", "2019-01-29")], False),  # matured note, next series
    ],
    ids=lambda value: "-".join("@".join(pair) for pair in value) if isinstance(value, list) else "",
)
def test_real_events_keep_or_change_the_id(
    world_master: SecurityMaster, listed: list[tuple[str, str]], same: bool
) -> None:
    before, after = ids(world_master, *listed)
    assert before
    assert after
    assert (before == after) is same


def test_a_stock_that_leaves_and_returns_has_a_gap(world_master: SecurityMaster) -> None:
    sec_id = world_master.resolve("GGP", "2005-01-03")
    assert sec_id is not None
    spans = world_master.history(sec_id).query("what == 'ticker'")[["value", "detail", "valid_from", "valid_to"]]
    assert spans.to_numpy().tolist() == [
        ["GGP", "US", "2002-01-02", "2009-04-16"],
        ["GGWPQ", "US-OTC", "2009-04-16", "2010-03-05"],
        ["GGP", "US", "2010-03-05", "2010-11-10"],
    ]


def test_a_merger_gives_the_target_a_delisting_with_successor_and_ratio(world_master: SecurityMaster) -> None:
    target, survivor = world_master.resolve("DD", "2017-08-31"), world_master.resolve("DWDP", "2017-09-01")
    assert target is not None
    edge = world_master.lineage(target).iloc[0]
    assert (edge["event"], edge["to_sec_id"], edge["ratio"]) == ("merger", survivor, 1.282)


def test_the_parent_of_a_spin_off_keeps_its_id_and_the_lineage_shows_the_child(world_master: SecurityMaster) -> None:
    parent, child = world_master.resolve("FOXA", "2013-07-01"), world_master.resolve("NWSA", "2013-07-01")
    assert parent is not None
    edge = world_master.lineage(parent).query("event == 'spin_off'").iloc[0]
    assert (edge["from_sec_id"], edge["to_sec_id"], edge["ratio"]) == (parent, child, 0.25)


def test_a_decision_pins_the_continuity_of_a_merger_to_the_accounting_acquirer(tmp_path: Path) -> None:
    tables = {
        "securities": [listing("DOW_old", "2002-01-02", "2017-08-31"), listing("DWDP", "2017-09-01")],
        "delistings": [delisting("DOW_old", "2017-08-31", "merger", successor_code="DWDP", successor_ratio=1.0)],
    }
    free, _ = build(tmp_path / "free.sqlite", **tables)
    old, new = ids(free, ("DOW_old", "2017-08-31"), ("DWDP", "2017-09-01"))
    assert old != new
    pin = IdentityDecision("DWDP|2017-09-01", "same", old, "rulebook", "accounting acquirer", "2017-09-01T12:00:00Z")
    pinned, _ = build(tmp_path / "pinned.sqlite", decisions=[pin], **tables)
    assert ids(pinned, ("DOW_old", "2017-08-31"), ("DWDP", "2017-09-01")) == [old, old]
    assert "decision" in pinned.explain("DWDP", "2018-01-02")["value"].str.cat()


def test_one_company_that_moves_to_another_code_exchange_and_isin_stays_one_by_its_figi(tmp_path: Path) -> None:
    figi = "BBG001S5N8V8"
    master, report = build(
        tmp_path / "m.sqlite",
        securities=[
            listing("OLD", "2006-01-03", "2012-03-30", share_class_figi=figi, isin="US1111111111", exchange="NASDAQ"),
            listing("NEW", "2012-04-02", share_class_figi=figi, isin="IE00B4BNMY34", exchange="NYSE"),
        ],
    )
    assert len(report.minted) == 1
    assert len(set(ids(master, ("OLD", "2012-03-30"), ("NEW", "2012-04-02")))) == 1


def test_one_company_that_moves_to_another_code_stays_one_by_its_cusip(tmp_path: Path) -> None:
    master, _ = build(
        tmp_path / "m.sqlite",
        securities=[
            listing("OLD", "2006-01-03", "2012-03-30", cusip="594918104"),
            listing("NEW", "2012-04-02", isin="US5949181045"),
        ],
    )
    assert len(set(ids(master, ("OLD", "2012-03-30"), ("NEW", "2012-04-02")))) == 1


def test_a_ticker_change_between_two_codes_makes_them_one(tmp_path: Path) -> None:
    master, _ = build(
        tmp_path / "m.sqlite",
        securities=[listing("FB", "2012-05-18", "2022-06-08"), listing("META", "2022-06-09")],
        ticker_changes=[change("FB", "2022-06-09", "FB", "META")],
    )
    assert len(set(ids(master, ("FB", "2022-06-08"), ("META", "2022-06-09")))) == 1


def test_a_vendor_that_moves_all_history_to_the_new_code_does_not_change_the_id(tmp_path: Path) -> None:
    figi = "BBG001SQCQC5"
    path = tmp_path / "m.sqlite"
    before, _ = build(path, securities=[listing("FB", "2012-05-18", share_class_figi=figi)])
    [old] = ids(before, ("FB", "2020-01-02"))
    moved = listing("META", "2012-05-18", share_class_figi=figi, known="2022-06-09T21:00:00")
    after, report = build(tmp_path / "n.sqlite", batch_id="second", previous=path, securities=[moved])
    assert report.minted == ()
    assert ids(after, ("META", "2015-01-02"), ("META", "2023-01-03")) == [old, old]


FIGI = "BBG001SQCQC5"
SINCE = "2012-05-24T21:15:00.000000Z"


@pytest.mark.parametrize("ended", ["2022-06-08", None])
@pytest.mark.parametrize(("old", "new"), [("FB", "META"), ("ZFB", "META")])
def test_two_codes_with_one_figi_and_the_same_closes_are_one_security(tmp_path: Path, old, new, ended) -> None:
    """The old code has its sessions until it ends or its ticker changes, the new one has those after it."""
    rows = [
        listing(old, "2012-05-18", ended, ticker="FB", share_class_figi=FIGI),
        listing(new, "2012-05-18", ticker="META", share_class_figi=FIGI),
    ]
    changes = [change(new, "2022-06-09", "FB", "META")]
    copies = {frozenset((old, new)): SINCE}
    master, report = build(tmp_path / "m.sqlite", securities=rows, ticker_changes=changes, copies=copies)
    assert report.counts["security"] == 1
    assert not report.open_questions
    held = master.listings()
    assert set(held["sec_id"]) == set(report.minted)
    for day in ("2013-01-02", "2022-06-08", "2022-06-09", "2023-01-03"):
        owners = [code for code in (old, new) if ids(master, (code, day)) != [""]]
        assert len(owners) == 1, day


def test_two_codes_with_one_figi_and_other_closes_stay_a_question(tmp_path: Path) -> None:
    rows = [listing(code, "2012-05-18", share_class_figi=FIGI) for code in ("FB", "META")]
    _, report = build(tmp_path / "m.sqlite", securities=rows)
    assert [question.kind for question in report.open_questions] == ["two_codes_one_identifier"]


def test_two_codes_with_the_same_closes_and_other_figis_stay_two_securities(tmp_path: Path) -> None:
    rows = [
        listing("A", "2012-05-18", share_class_figi=FIGI),
        listing("B", "2012-05-18", share_class_figi="BBG001S5N8V8"),
    ]
    _, report = build(tmp_path / "m.sqlite", securities=rows, copies={frozenset("AB"): SINCE})
    assert report.counts["security"] == 2


@pytest.mark.parametrize("new", ["META", "AMETA"])
def test_all_history_moved_to_a_new_code_overnight_with_the_old_dates_keeps_the_id(tmp_path: Path, new) -> None:
    """Rows without `known_from` have the old one by default, so that nothing but the delivery says what is new."""
    path = tmp_path / "m.sqlite"
    before, _ = build(path, securities=[listing("FB", "2012-05-18", share_class_figi=FIGI)])
    [old] = ids(before, ("FB", "2020-01-02"))
    moved = [listing(new, "2012-05-18", share_class_figi=FIGI)]
    after, report = build(tmp_path / "n.sqlite", batch_id="second", previous=path, securities=moved)
    assert (report.minted, report.lost, report.open_questions) == ((), (), ())
    assert ids(after, (new, "2015-01-02"), (new, "2023-01-03")) == [old, old]
    again, report = build(tmp_path / "o.sqlite", batch_id="third", previous=tmp_path / "n.sqlite", securities=moved)
    assert report.minted == ()
    assert ids(again, (new, "2015-01-02")) == [old]


def test_a_code_that_goes_from_the_target_to_its_acquirer_keeps_both_lives_apart(tmp_path: Path) -> None:
    """The acquirer takes over ticker and code of the target on the next session."""
    rows = [
        listing("T", "2006-01-03", "2010-03-31", share_class_figi="BBG001S5N8V8"),
        listing("A", "2006-01-03", "2010-03-31", share_class_figi=FIGI),
        listing("T", "2010-04-01", share_class_figi=FIGI),
    ]
    gone = [delisting("T", "2010-03-31", "merger", cash=10.0)]
    changes = [change("T", "2010-04-01", "A", "T")]
    master, report = build(tmp_path / "m.sqlite", securities=rows, delistings=gone, ticker_changes=changes)
    target, acquirer, after = ids(master, ("T", "2010-03-31"), ("A", "2010-03-31"), ("T", "2010-04-01"))
    assert target != acquirer == after
    assert report.counts["security"] == 2


def test_one_code_that_holds_two_companies_in_turn_becomes_two_securities(tmp_path: Path) -> None:
    rows = [listing("ABC", "2006-01-03", "2010-03-31", name="Abacus"), listing("ABC", "2010-04-01", name="Abbey Corp")]
    master, report = build(tmp_path / "m.sqlite", securities=rows)
    assert len(report.minted) == 2
    assert len(set(ids(master, ("ABC", "2010-03-31"), ("ABC", "2010-04-01")))) == 2


def test_equity_cancelled_in_bankruptcy_is_not_the_equity_that_emerges(tmp_path: Path) -> None:
    master, _ = build(
        tmp_path / "m.sqlite",
        securities=[
            listing("CHK", "2006-01-03", "2021-02-09", cik="895126", name="Chesapeake Energy"),
            listing("CHK", "2021-02-10", cik="895126", name="Chesapeake Energy"),
        ],
        delistings=[delisting("CHK", "2021-02-09", "bankruptcy", cash=0.0)],
    )
    assert len(set(ids(master, ("CHK", "2021-02-09"), ("CHK", "2021-02-10")))) == 2


def test_classes_of_one_issuer_are_different_securities(world_master: SecurityMaster) -> None:
    a, b = world_master.resolve("BRK.A", "2020-01-02"), world_master.resolve("BRK.B", "2020-01-02")
    assert a != b
    assert world_master.issuers([a, b], "2020-01-02").tolist() == ["1067983", "1067983"]


def test_a_corrected_first_session_does_not_make_a_second_security(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    before, _ = build(path, securities=[listing("ABC", "2006-01-04", name="Abacus")])
    [old] = ids(before, ("ABC", "2006-01-05"))
    corrected = listing("ABC", "2006-01-03", name="Abacus", known="2006-02-01T21:00:00")
    after, report = build(tmp_path / "n.sqlite", batch_id="second", previous=path, securities=[corrected])
    assert report.minted == ()
    assert ids(after, ("ABC", "2006-01-03"), ("ABC", "2006-01-05")) == [old, old]
