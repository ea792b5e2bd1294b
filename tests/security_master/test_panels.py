"""Share counts and classes on a grid of sessions: filings, splits, staleness, corrections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.calendar import xnys
from security_master import SecurityMaster, panels
from tests.security_master.tables import build, listing

CALENDAR = xnys()


def grid(start: str, end: str) -> tuple[Any, Any]:
    """Sessions and their knowledge instants."""
    days = CALENDAR.between(start, end)
    return days, CALENDAR.knowledge_instants(CALENDAR.on_or_after(days), 15)


def filing(code: str, period: str, filed: str, shares: float, known: str | None = None) -> dict[str, Any]:
    return {"vendor_code": code, "period_end": period, "filed_at": filed, "shares": shares, "known": known or filed}


def split(code: str, ex: str, new: int, old: int, known: str, kind: str = "split") -> dict[str, Any]:
    return {"vendor_code": code, "ex_date": ex, "ratio_new": new, "ratio_old": old, "kind": kind, "known": known}


def industry(code: str, day: str, number: str, known: str, gics: str = "") -> dict[str, Any]:
    row = {"vendor_code": code, "valid_from": day, "fs_industry_code": number, "gics_sub_industry": gics}
    return row | {"known": known}


def one(path: Path, **tables: Any) -> tuple[SecurityMaster, str]:
    """A master with the security ABC, listed since 2010."""
    rows = [listing("ABC", "2010-01-04"), *tables.pop("more", [])]
    master, _ = build(path, securities=rows, **tables)
    return master, str(master.assign(["ABC"], ["2010-01-04"])[0])


def shares(master: SecurityMaster, sec_id: str, start: str, end: str, age: int = 400) -> dict[str, float]:
    days, instants = grid(start, end)
    row = master.shares_panel([sec_id], days, instants, age)[0]
    return dict(zip(days.astype(str).tolist(), row.tolist(), strict=True))


@pytest.mark.parametrize(
    ("filed", "usable"),
    [
        ("2012-05-01T10:10:00", "2012-05-02"),  # 06:10 in New York, before the session: from the next one
        ("2012-05-01T21:31:00", "2012-05-02"),  # 17:31, after the close
        ("2012-05-02T02:30:00", "2012-05-02"),  # 22:30 of the first, though already the second in UTC
        ("2012-05-04T21:31:00", "2012-05-07"),  # a Friday
        ("2012-05-05T15:00:00", "2012-05-07"),  # a Saturday
    ],
)
def test_a_filing_is_usable_from_the_first_session_strictly_after_its_date(
    tmp_path: Path, filed: str, usable: str
) -> None:
    master, sec_id = one(tmp_path / "m.sqlite", shares=[filing("ABC", "2012-03-31", filed, 100.0)])
    found = shares(master, sec_id, "2012-04-25", "2012-05-15")
    assert min(day for day, count in found.items() if count == 100.0) == usable
    assert all(np.isnan(count) for day, count in found.items() if day < usable)


def test_a_filing_that_a_vendor_delivers_late_is_usable_late(tmp_path: Path) -> None:
    late = filing("ABC", "2012-03-31", "2012-05-01T21:00:00", 100.0, known="2012-05-09T20:30:00")
    master, sec_id = one(tmp_path / "m.sqlite", shares=[late])
    found = shares(master, sec_id, "2012-05-01", "2012-05-15")
    assert min(day for day, count in found.items() if count == 100.0) == "2012-05-10"


def test_the_latest_period_stands_whatever_is_filed_later_about_an_earlier_one(tmp_path: Path) -> None:
    rows = [
        filing("ABC", "2012-03-31", "2012-05-01T21:00:00", 100.0),
        filing("ABC", "2012-06-30", "2012-08-01T21:00:00", 110.0),
        filing("ABC", "2012-03-31", "2012-09-04T21:00:00", 105.0),  # an amendment of the first quarter
        filing("ABC", "2012-06-30", "2012-10-01T21:00:00", 111.0),  # and of the second
    ]
    master, sec_id = one(tmp_path / "m.sqlite", shares=rows)
    found = shares(master, sec_id, "2012-05-01", "2012-10-31")
    expected = {"2012-05-02": 100.0, "2012-08-01": 100.0, "2012-08-02": 110.0, "2012-09-05": 110.0, "2012-10-01": 110.0}
    assert {day: found[day] for day in expected} == expected
    assert found["2012-10-02"] == 111.0


def test_a_night_reads_few_filings_and_finds_what_all_of_them_say(tmp_path: Path) -> None:
    old, stale = "2010-05-03T21:00:00", "2013-02-01T21:00:00"
    rows = [
        *(filing("ABC", f"{year}-03-31", f"{year}-05-03T21:00:00", float(year)) for year in range(2010, 2013)),
        filing("ABC", "2012-12-31", stale, 120.0),
        filing("ABC", "2012-09-30", "2014-02-03T21:00:00", 119.0),  # of an earlier period: it never stands
        filing("XYZ", "2010-03-31", old, 50.0),
        filing("XYZ", "2013-12-31", "2014-02-03T21:00:00", 60.0),
    ]
    master, sec_id = one(tmp_path / "m.sqlite", shares=rows, more=[listing("XYZ", "2010-01-04")])
    other = str(master.assign(["XYZ"], ["2010-01-04"])[0])
    night = SecurityMaster.open(tmp_path / "m.sqlite")
    for day in ("2014-02-04", "2014-04-01", "2013-02-04", "2010-05-04", "2014-04-01"):
        whole = shares(master, sec_id, "2010-01-04", "2014-06-30")[day], shares(master, other, "2010-01-04", day)[day]
        alone = shares(night, sec_id, day, day)[day], shares(night, other, day, day)[day]
        np.testing.assert_array_equal(alone, whole)
    assert np.isnan(
        shares(SecurityMaster.open(tmp_path / "m.sqlite"), sec_id, "2014-04-01", "2014-04-01")["2014-04-01"]
    )
    first = SecurityMaster.open(tmp_path / "m.sqlite")
    assert shares(first, other, "2014-04-01", "2014-04-01") == {"2014-04-01": 60.0}
    (filings,) = first._store.made("filings", dict).values()
    assert sorted(filings.shares) == [60.0, 119.0, 120.0]
    assert np.isnan(first.shares_panel([other], [], [], 400)).shape == (1, 0)


def test_market_cap_is_continuous_over_the_ex_date_of_a_split(tmp_path: Path) -> None:
    master, sec_id = one(
        tmp_path / "m.sqlite",
        shares=[filing("ABC", "2012-03-31", "2012-05-01T21:00:00", 100.0)],
        splits=[split("ABC", "2012-06-11", 7, 1, "2012-06-08T20:00:00")],
    )
    found = shares(master, sec_id, "2012-06-08", "2012-06-12")
    assert found == {"2012-06-08": 100.0, "2012-06-11": 700.0, "2012-06-12": 700.0}
    close = {"2012-06-08": 140.0, "2012-06-11": 20.1}
    cap = [found[day] * close[day] for day in close]
    assert cap[1] / cap[0] - 1 == pytest.approx(7 * 20.1 / 140.0 - 1, abs=1e-12)


def test_a_count_filed_after_the_split_is_already_in_new_shares(tmp_path: Path) -> None:
    master, sec_id = one(
        tmp_path / "m.sqlite",
        shares=[
            filing("ABC", "2012-03-31", "2012-07-01T21:00:00", 100.0),
            filing("ABC", "2012-06-30", "2012-08-01T21:00:00", 710.0),
        ],
        splits=[split("ABC", "2012-06-11", 7, 1, "2012-06-08T20:00:00")],
    )
    found = shares(master, sec_id, "2012-07-30", "2012-08-03")
    assert found["2012-08-01"] == 700.0
    assert found["2012-08-02"] == 710.0


def test_a_reverse_split_divides_and_a_spin_off_written_as_a_split_does_nothing(tmp_path: Path) -> None:
    master, sec_id = one(
        tmp_path / "m.sqlite",
        shares=[filing("ABC", "2012-03-31", "2012-05-01T21:00:00", 100.0)],
        splits=[
            split("ABC", "2012-06-11", 1, 10, "2012-06-08T20:00:00"),
            split("ABC", "2012-06-13", 1253, 1000, "2012-06-12T20:00:00", kind="spin_off"),
        ],
    )
    found = shares(master, sec_id, "2012-06-08", "2012-06-14")
    assert found["2012-06-11"] == 10.0
    assert found["2012-06-14"] == 10.0


def test_a_split_that_becomes_known_late_counts_from_then(tmp_path: Path) -> None:
    master, sec_id = one(
        tmp_path / "m.sqlite",
        shares=[filing("ABC", "2012-03-31", "2012-05-01T21:00:00", 100.0)],
        splits=[split("ABC", "2012-06-11", 2, 1, "2012-06-14T12:00:00")],
    )
    found = shares(master, sec_id, "2012-06-08", "2012-06-15")
    assert [found[day] for day in ("2012-06-11", "2012-06-13", "2012-06-14")] == [100.0, 100.0, 200.0]


def test_a_wrong_ratio_is_used_until_it_is_corrected(tmp_path: Path) -> None:
    master, sec_id = one(
        tmp_path / "m.sqlite",
        shares=[filing("ABC", "2012-03-31", "2012-05-01T21:00:00", 1200.0)],
        splits=[
            split("ABC", "2012-06-11", 1, 12, "2012-06-08T20:00:00"),
            split("ABC", "2012-06-11", 1, 20, "2012-06-13T12:00:00"),
        ],
    )
    found = shares(master, sec_id, "2012-06-08", "2012-06-15")
    assert [found[day] for day in ("2012-06-08", "2012-06-12", "2012-06-13")] == [1200.0, 100.0, 60.0]


def test_a_count_is_stale_after_the_stated_age_counted_from_its_filing(tmp_path: Path) -> None:
    master, sec_id = one(tmp_path / "m.sqlite", shares=[filing("ABC", "2012-03-30", "2012-05-01T21:00:00", 100.0)])
    found = shares(master, sec_id, "2012-05-01", "2013-06-14", age=400)
    held = [day for day, count in found.items() if count == 100.0]
    assert (held[0], held[-1]) == ("2012-05-02", "2013-06-05")
    assert shares(master, sec_id, "2012-05-01", "2012-06-29", age=30)["2012-05-31"] == 100.0
    assert np.isnan(shares(master, sec_id, "2012-05-01", "2012-06-29", age=30)["2012-06-01"])


def test_a_later_filing_that_is_stale_does_not_bring_an_older_one_back(tmp_path: Path) -> None:
    rows = [
        filing("ABC", "2012-03-31", "2012-05-01T21:00:00", 100.0),
        filing("ABC", "2012-06-30", "2012-05-02T21:00:00", 110.0),  # misdated: filed before the period's end
    ]
    master, sec_id = one(tmp_path / "m.sqlite", shares=rows)
    found = shares(master, sec_id, "2012-05-01", "2012-08-31", age=30)
    assert np.isnan(found["2012-08-31"])


def test_each_class_has_its_own_count_and_the_issuer_is_the_sum(world_master: SecurityMaster) -> None:
    a, b = (world_master.resolve(t, "2022-09-01") for t in ("BRK.A", "BRK.B"))
    assert a is not None
    assert b is not None
    assert (world_master.shares(a, "2022-09-01"), world_master.shares(b, "2022-09-01")) == (605_000, 1_300_000_000)
    assert len(set(world_master.issuers([a, b], "2022-09-01"))) == 1


def test_single_answers_agree_with_the_panel(world_master: SecurityMaster) -> None:
    google = world_master.resolve("GOOGL", "2022-07-15")
    assert google is not None
    assert world_master.shares(google, "2022-07-15") == 300_764_000
    assert world_master.shares(google, "2022-07-18") == 300_764_000 * 20  # ex-date
    assert world_master.shares(google, "2022-07-26") == 300_764_000 * 20
    assert world_master.shares(google, "2022-07-27") == 5_996_000_000
    assert world_master.shares(google, "2022-07-27", known_as_of="2022-07-01T00:00:00Z") == 300_764_000
    assert world_master.shares(google, "2010-01-04") is None


def classes(master: SecurityMaster, sec_id: str, start: str, end: str) -> dict[str, int]:
    days, instants = grid(start, end)
    row = master.classification_panel([sec_id], days, instants)[0]
    assert row.dtype == np.int16
    return dict(zip(days.astype(str).tolist(), row.tolist(), strict=True))


def test_a_reclassification_counts_from_its_date_and_not_before_it_is_known(tmp_path: Path) -> None:
    rows = [
        industry("ABC", "2010-01-04", "2510", "2010-01-04T10:00:00"),
        industry("ABC", "2012-06-11", "5030", "2012-06-08T20:00:00"),
        industry("ABC", "2012-06-18", "5020", "2012-06-20T12:00:00"),
    ]
    master, sec_id = one(tmp_path / "m.sqlite", classification=rows)
    found = classes(master, sec_id, "2012-06-08", "2012-06-21")
    assert [found[f"2012-06-{d}"] for d in ("08", "11", "18", "19", "20")] == [2510, 5030, 5030, 5030, 5020]


def test_a_correction_replaces_the_class_from_when_it_is_known(tmp_path: Path) -> None:
    rows = [
        industry("ABC", "2010-01-04", "2510", "2010-01-04T10:00:00"),
        industry("ABC", "2010-01-04", "3210", "2012-06-12T12:00:00"),
    ]
    master, sec_id = one(tmp_path / "m.sqlite", classification=rows)
    found = classes(master, sec_id, "2012-06-08", "2012-06-13")
    assert [found[f"2012-06-{d}"] for d in ("08", "11", "12")] == [2510, 2510, 3210]


def test_an_earlier_period_corrected_later_does_not_override_the_class_of_today(tmp_path: Path) -> None:
    rows = [
        industry("ABC", "2010-01-04", "2510", "2010-01-04T10:00:00"),
        industry("ABC", "2012-01-03", "5030", "2012-01-03T10:00:00"),
        industry("ABC", "2011-01-03", "3210", "2012-06-12T12:00:00"),
    ]
    master, sec_id = one(tmp_path / "m.sqlite", classification=rows)
    assert set(classes(master, sec_id, "2012-06-08", "2012-06-29").values()) == {5030}
    found = master.classify(sec_id, "2011-06-01")
    assert found is not None
    assert found.code == "3210"
    before = master.classify(sec_id, "2011-06-01", known_as_of="2012-01-10T00:00:00Z")
    assert before is not None
    assert before.code == "2510"


def test_unknown_codes_and_names_are_unclassified_and_counted(tmp_path: Path) -> None:
    rows = [
        industry("ABC", "2010-01-04", "2511", "2010-01-04T10:00:00"),
        industry("DEF", "2010-01-04", "", "2010-01-04T10:00:00", gics="Interactive Dinosaurs"),
        industry("GHI", "2010-01-04", "", "2010-01-04T10:00:00", gics="Semiconductors"),
    ]
    more = [listing("DEF", "2010-01-04"), listing("GHI", "2010-01-04")]
    master, report = build(tmp_path / "m.sqlite", securities=[listing("ABC", "2010-01-04"), *more], classification=rows)
    assert report.unclassified == 2
    sec_ids = [str(s) for s in master.assign(["ABC", "DEF", "GHI"], ["2010-01-04"] * 3)]
    days, instants = grid("2010-01-05", "2010-01-06")
    assert master.classification_panel(sec_ids, days, instants)[:, 0].tolist() == [0, 0, 3210]
    by_name = master.classify(sec_ids[1], "2010-01-05", scheme="gics")
    assert by_name is not None
    assert (by_name.code, by_name.scheme_version) == ("Interactive Dinosaurs", "gics-2014")


def test_gics_classes_carry_the_version_of_the_scheme_in_force(world_master: SecurityMaster) -> None:
    google = world_master.resolve("GOOGL", "2019-01-02")
    assert google is not None
    found = world_master.classify(google, "2019-01-02", scheme="gics")
    assert found is not None
    assert (found.code, found.scheme_version) == ("Interactive Media & Services", "gics-2018")
    assert world_master.classify(google, "2016-01-04", scheme="gics") is None


def test_rows_of_a_code_with_two_holders_belong_to_the_one_of_their_date(tmp_path: Path) -> None:
    rows = [listing("ABC", "2010-01-04", "2012-06-29", name="One"), listing("ABC", "2013-01-02", name="Two")]
    master, _ = build(
        tmp_path / "m.sqlite",
        securities=rows,
        classification=[
            industry("ABC", "2010-01-04", "2510", "2010-01-04T10:00:00"),
            industry("ABC", "2012-12-31", "3210", "2012-12-31T10:00:00"),  # before the second one lists
        ],
        shares=[
            filing("ABC", "2012-03-31", "2012-05-01T21:00:00", 100.0),
            filing("ABC", "2012-06-30", "2012-08-01T21:00:00", 101.0),  # the first one's last report, after its end
            filing("ABC", "2012-12-31", "2013-02-01T21:00:00", 900.0),
        ],
    )
    first, second = (str(s) for s in master.assign(["ABC", "ABC"], ["2012-06-29", "2013-01-02"]))
    days, instants = grid("2012-06-01", "2013-03-01")
    panel = master.classification_panel([first, second], days, instants)
    assert set(panel[0][days <= np.datetime64("2012-06-29")].tolist()) == {2510}
    assert panel[1, -1] == 3210
    assert not panel[1][days <= np.datetime64("2012-12-31")].any()
    counts = master.shares_panel([first, second], days, instants, 400)
    assert counts[0, -1] == 101.0
    assert counts[1, -1] == 900.0
    assert set(counts[1][np.isfinite(counts[1])]) == {900.0}


def test_nothing_about_a_security_is_used_before_the_security_is_known(tmp_path: Path) -> None:
    master, _ = build(
        tmp_path / "m.sqlite",
        securities=[listing("ABC", "2010-01-04", known="2012-06-12T12:00:00")],
        classification=[industry("ABC", "2010-01-04", "2510", "2010-01-04T10:00:00")],
    )
    [sec_id] = master.roster()["sec_id"]
    found = classes(master, sec_id, "2012-06-08", "2012-06-13")
    assert [found[f"2012-06-{d}"] for d in ("08", "11", "12")] == [0, 0, 2510]


def test_sessions_and_instants_must_fit(world_master: SecurityMaster) -> None:
    days, instants = grid("2012-06-08", "2012-06-13")
    with pytest.raises(ValueError, match="one instant for each session"):
        world_master.classification_panel([], days, instants[1:])
    with pytest.raises(ValueError, match="ascend"):
        world_master.classification_panel([], days[::-1], instants)


def test_filings_that_a_later_one_hides_at_every_session_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    days, instants = grid("2012-01-03", "2012-12-31")
    rng, looked_at = np.random.default_rng(5), []
    every = CALENDAR.between("2010-01-04", "2013-06-28")
    n = 400
    period, delay, believed = rng.choice(every, n), rng.integers(1, 90, n), rng.integers(1, 900, n)
    known = (period + delay).astype("datetime64[us]") + np.timedelta64(20, "h")
    told = {
        "sec_id": rng.choice(["A", "B", "C", "D"], n),
        "period_end": period.astype(str),
        "filed_at": [f"{instant}Z" for instant in known.astype(str)],
        "shares_raw": rng.integers(1, 1000, n).astype(float),
        "known_from": [f"{instant}Z" for instant in known.astype(str)],
        "known_to": [
            f"{instant}Z" if rng.random() < 0.3 else "9999-12-31T00:00:00.000000Z"
            for instant in (known + believed * np.timedelta64(1, "D")).astype(str)
        ],
    }
    filings = panels.filings_of(pd.DataFrame(told))
    ex, never = period[:8].astype(str), "9999-12-31T00:00:00.000000Z"
    splits = pd.DataFrame({"sec_id": ["A", "B", "C", "D"] * 2, "ex_date": ex, "ratio_num": 2, "ratio_den": 1})
    splits = splits.assign(known_from=[f"{day}T12:00:00.000000Z" for day in ex], known_to=never)
    hides = panels._not_hidden

    def shares() -> Any:
        return panels.shares_panel(filings, splits, ["D", "B", "A"], panels.grid(days, instants), 400)

    def all_of_them(rows: Any, first: Any, until: Any, shape: Any) -> Any:
        used = np.flatnonzero((rows >= 0) & (first < until))
        looked_at.append((len(hides(rows, first, until, shape)), len(used)))
        return used

    found = shares()
    monkeypatch.setattr(panels, "_not_hidden", all_of_them)
    assert found.tobytes() == shares().tobytes()
    assert looked_at[0][0] < looked_at[0][1] / 2
    monkeypatch.setattr(panels, "_not_hidden", lambda *given: hides(*given)[1:])
    assert found.tobytes() != shares().tobytes()
