"""Real name changes: the right security, or none, on both sides of every boundary."""

from __future__ import annotations

import pytest

from security_master import SecurityMaster

# ticker, date, vendor code and start of the listing that must answer ("" for nobody)
BOUNDARIES = [
    ("FB", "2003-03-28", "FB_old"),
    ("FB", "2003-03-31", ""),
    ("FB", "2010-01-04", ""),
    ("FB", "2012-05-17", ""),
    ("FB", "2012-05-18", "META"),
    ("FB", "2022-06-08", "META"),
    ("FB", "2022-06-09", ""),
    ("FB", "2025-06-23", ""),
    ("FB", "2025-06-24", "FB"),
    ("META", "2021-06-29", ""),
    ("META", "2021-06-30", "METV"),
    ("META", "2021-12-31", "METV"),
    ("META", "2022-01-28", "METV"),
    ("META", "2022-01-31", ""),
    ("META", "2022-06-08", ""),
    ("META", "2022-06-09", "META"),
    ("METV", "2022-01-31", "METV"),
    ("GOOG", "2014-04-02", "GOOGL"),
    ("GOOG", "2014-04-03", "GOOG"),
    ("GOOGL", "2014-04-02", ""),
    ("GOOGL", "2014-04-03", "GOOGL"),
    ("GOOCV", "2014-04-02", ""),
    ("WM", "2008-09-26", "WM_old"),
    ("WM", "2008-09-29", ""),
    ("WM", "2009-08-04", ""),
    ("WM", "2009-08-05", "WM"),
    ("WMI", "2009-08-04", "WM"),
    ("WMI", "2009-08-05", ""),
    ("NWSA", "2013-06-28", "FOXA"),
    ("NWSA", "2013-07-01", "NWSA"),
    ("FOXA", "2013-06-28", ""),
    ("FOXA", "2013-07-01", "FOXA"),
    ("NWS", "2013-06-28", "FOX"),
    ("NWS", "2013-07-01", "NWS"),
    ("FOXA", "2019-03-19", "FOXA"),
    ("FOXA", "2019-03-20", ""),
    ("QQQ", "2004-11-30", "QQQ"),
    ("QQQ", "2004-12-01", ""),
    ("QQQQ", "2004-12-01", "QQQ"),
    ("QQQQ", "2011-03-22", "QQQ"),
    ("QQQ", "2011-03-22", ""),
    ("QQQ", "2011-03-23", "QQQ"),
    ("UA", "2016-12-06", "UAA"),
    ("UA", "2016-12-07", "UA"),
    ("UAA", "2016-12-06", ""),
    ("UAA", "2016-12-07", "UAA"),
    ("UA.C", "2016-12-06", "UA"),
    ("UA-C", "2016-12-07", ""),
    ("DD", "2017-08-31", "DD_old"),
    ("DD", "2017-09-01", ""),
    ("DD", "2019-05-31", ""),
    ("DD", "2019-06-03", "DD"),
    ("DOW", "2017-08-31", "DOW_old"),
    ("DOW", "2017-09-01", ""),
    ("DOW", "2019-04-01", ""),
    ("DOW", "2019-04-02", "DOW"),
    ("DWDP", "2017-08-31", ""),
    ("DWDP", "2017-09-01", "DWDP"),
    ("DWDP", "2019-05-31", "DWDP"),
    ("DWDP", "2019-06-03", ""),
    ("SHLD", "2018-10-23", "SHLD|2005-03-28"),
    ("SHLD", "2018-10-24", ""),
    ("SHLD", "2023-09-11", ""),
    ("SHLD", "2023-09-12", "SHLD|2023-09-12"),
    ("GGP", "2009-04-15", "GGP|2002-01-02"),
    ("GGP", "2009-04-16", ""),
    ("GGP", "2010-03-04", ""),
    ("GGP", "2010-03-05", "GGP|2010-03-05"),
    ("GGP", "2010-11-10", ""),
    ("BBBY", "2023-05-02", "BBBY"),
    ("BBBY", "2023-05-03", ""),
    ("GM", "2009-06-01", "GM_old"),
    ("GM", "2009-06-02", ""),
    ("GM", "2010-11-17", ""),
    ("GM", "2010-11-18", "GM"),
    ("VXX", "2019-01-29", "VXX_old"),
    ("VXX", "2019-01-30", ""),
    ("VXX", "2019-05-01", ""),
    ("VXX", "2019-05-02", "VXX"),
    ("VXXB", "2019-05-01", "VXX"),
    ("NA", "2022-07-11", ""),
    ("NA", "2022-07-12", "NA"),
    ("NULL", "2016-01-04", "NULL"),
    ("TRUE", "2014-05-15", ""),
    ("TRUE", "2014-05-16", "TRUE"),
    ("ON", "2015-01-02", "ON"),
]


def holder(master: SecurityMaster, listing: str) -> str | None:
    """The security of a listing, written as its vendor code, with its first session where the code had two."""
    if not listing:
        return None
    code, _, first = listing.partition("|")
    roster = master._store.table("securities_row") if not first else None
    first = first or roster.loc[roster["vendor_code"] == code, "first_session"].iloc[0]
    return str(master.assign([code], [first])[0])


@pytest.mark.parametrize(("ticker", "day", "listing"), BOUNDARIES, ids=lambda value: value or "nobody")
def test_a_ticker_means_the_right_security_or_none_on_each_side_of_a_boundary(
    world_master: SecurityMaster, ticker: str, day: str, listing: str
) -> None:
    assert world_master.resolve(ticker, day) == holder(world_master, listing)


def test_many_resolutions_at_once_say_the_same_as_one_at_a_time(world_master: SecurityMaster) -> None:
    import pandas as pd

    asked = pd.DataFrame([(t, d) for t, d, _ in BOUNDARIES], columns=["ticker", "date"])
    answered = world_master.resolve_many(asked.assign(date=asked["date"].astype("datetime64[s]")))
    single = [world_master.resolve(ticker, day) or "" for ticker, day in asked.to_numpy()]
    assert answered["sec_id"].tolist() == single
    assert set(answered.loc[answered["sec_id"] == "", "status"]) <= {"none"}


def test_the_world_leaves_no_question_open(world_master: SecurityMaster) -> None:
    assert world_master.queue().empty


def test_otc_and_when_issued_lines_answer_only_when_asked_for(world_master: SecurityMaster) -> None:
    for ticker, day in (("BBBYQ", "2023-06-01"), ("GOOCV", "2014-03-28"), ("WAMUQ", "2009-01-02")):
        assert world_master.resolve(ticker, day) is None
        assert world_master.resolve(ticker, day, mode="any") is not None


def test_tickers_that_look_like_missing_values_are_tickers(world_master: SecurityMaster) -> None:
    found = {ticker: world_master.resolve(ticker, "2023-01-03") for ticker in ("NA", "NULL", "TRUE", "ON")}
    assert all(found.values())
    assert len(set(found.values())) == 4
