"""Universes: hysteresis, ties, and snapshots that never change."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from security_master import (
    MEMBER_TYPES,
    RULES,
    SecurityMaster,
    Snapshot,
    SnapshotConflict,
    UniverseRule,
    build_master,
    record_snapshot,
    record_snapshots,
    schema,
    select_members,
)
from security_master.frames import typed_frame
from security_master.master_file import columns_of, write_master
from security_master.panels import attributes, of_type
from tests.security_master.tables import change, delisting, listing, table

TEN = UniverseRule("uni_test", 10)
JUNE, KNOWN = "2019-06-28", np.datetime64("2019-06-28T20:15")


def ids(n: int) -> np.ndarray:
    return np.array(
        [
            f"S{'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[i // 32]}{'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[i % 32]}AAAAAA"
            for i in range(n)
        ],
        object,
    )


def choose(cap: Any, was: Any = None, rule: UniverseRule = TEN, **changed: Any) -> Snapshot:
    """A selection in which everything but the market caps is in order."""
    n = len(cap)
    arrays = {
        "sec_id": ids(n),
        "market_cap": np.asarray(cap, float),
        "close": np.full(n, 20.0),
        "traded_share": np.ones(n),
        "was_member": np.zeros(n, bool) if was is None else np.asarray(was),
        "eligible": np.ones(n, bool),
    }
    return select_members(rule, **(arrays | changed))


def test_the_largest_are_members() -> None:
    cap = np.arange(20.0, 0, -1)
    assert choose(cap).members.tolist() == ids(10).tolist()


def test_a_member_stays_within_the_band_and_a_newcomer_waits() -> None:
    cap = np.arange(20.0, 0, -1)
    was = np.zeros(20, bool)
    was[10] = True  # rank 11, the last one of the band
    chosen = choose(cap, was)
    assert ids(20)[10] in chosen.members
    assert ids(20)[9] not in chosen.members
    assert dict(zip(chosen.rows["sec_id"], chosen.rows["status"], strict=True))[ids(20)[10]] == "buffer_in"


def test_a_member_beyond_the_band_leaves() -> None:
    cap = np.arange(20.0, 0, -1)
    was = np.zeros(20, bool)
    was[11] = True
    chosen = choose(cap, was)
    assert chosen.members.tolist() == ids(10).tolist()
    gone = chosen.rows[chosen.rows["status"] == "out"]
    assert gone[["sec_id", "rank", "reason"]].to_numpy().tolist() == [[ids(20)[11], 12, "rank"]]


def test_of_too_many_stayers_the_lowest_ranked_leave() -> None:
    cap = np.arange(20.0, 0, -1)
    was = np.zeros(20, bool)
    was[:11] = True
    assert choose(cap, was).members.tolist() == ids(10).tolist()


def test_ties_go_by_id_whatever_the_order_of_the_rows() -> None:
    order = np.random.default_rng(3).permutation(20)
    cap = np.full(20, 5.0)
    assert choose(cap, sec_id=ids(20)[order]).members.tolist() == ids(10).tolist()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"close": 0.99}, "price"),
        ({"traded_share": 0.59}, "not_traded"),
        ({"market_cap": np.nan}, "no_market_cap"),
        ({"market_cap": 0.0}, "no_market_cap"),
        ({"eligible": False}, "not_eligible"),
        ({"close": np.nan}, "price"),
    ],
)
def test_who_is_no_candidate_is_no_member_and_a_member_leaves_with_the_reason(
    changed: dict[str, Any], reason: str
) -> None:
    n = 20
    column, value = next(iter(changed.items()))
    base = {"market_cap": np.arange(20.0, 0, -1), "close": np.full(n, 20.0), "traded_share": np.ones(n)}
    array = np.array(base.get(column, np.ones(n, bool)))
    array[0] = value
    assert ids(n)[0] not in choose(base["market_cap"], **{column: array}).members
    was = np.zeros(n, bool)
    was[0] = True
    if column == "close" and value == 0.99:
        array[0] = 0.79
    gone = choose(base["market_cap"], was, **{column: array}).rows
    assert gone.loc[gone["status"] == "out", "reason"].tolist() == [reason]


def test_a_member_may_fall_a_little_below_the_price_that_a_newcomer_needs() -> None:
    close = np.full(20, 20.0)
    close[0] = 0.85
    was = np.zeros(20, bool)
    assert ids(20)[0] not in choose(np.arange(20.0, 0, -1), was, close=close).members
    was[0] = True
    assert ids(20)[0] in choose(np.arange(20.0, 0, -1), was, close=close).members


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_the_selection_keeps_its_promises_for_any_market(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    cap = rng.choice([1.0, 2.0, 3.0, 4.0, 5.0, np.nan], n)
    was = rng.random(n) < 0.3
    chosen = choose(cap, was)
    members = chosen.members
    candidates = int(np.isfinite(cap).sum())
    assert len(members) == min(10, candidates)
    ranks = chosen.rows.loc[chosen.rows["status"] != "out", "rank"]
    assert ranks.is_unique
    assert (ranks <= TEN.last_rank_of_members).all()
    order = rng.permutation(n)
    again = choose(cap[order], was[order], sec_id=ids(n)[order])
    assert again.members.tolist() == members.tolist()
    assert again.input_hash == chosen.input_hash


def test_a_security_given_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="given twice"):
        choose(np.ones(2), sec_id=np.array(["SAAAAAAAA", "SAAAAAAAA"], object))


def test_the_shipped_rules_have_a_band_of_ten_percent() -> None:
    assert {name: rule.last_rank_of_members for name, rule in RULES.items()} == {
        "uni_mc_50": 55,
        "uni_mc_500": 550,
        "uni_mc_1000": 1100,
        "uni_mc_3000": 3300,
    }


# -- snapshots in the master --------------------------------------------------------------------------------------


def market(n: int = 150) -> dict[str, pd.DataFrame]:
    rows = [listing(f"V{i:03d}", "2015-01-02", ticker=f"T{i:03d}", isin=f"US{i:09d}0") for i in range(n)]
    return {"securities": table("securities", *rows)}


def master_with(path: Path, tables: dict[str, pd.DataFrame]) -> np.ndarray:
    build_master(path, tables, batch_id="first")
    with SecurityMaster.open(path) as master:
        return master.roster()["sec_id"].to_numpy(object)


def snapshot(sec_ids: np.ndarray, seed: int = 0, rule: UniverseRule = RULES["uni_mc_50"]) -> Snapshot:
    cap = np.random.default_rng(seed).lognormal(20, 2, len(sec_ids))
    return choose(cap, rule=rule, sec_id=sec_ids)


def test_a_snapshot_applies_from_the_first_day_of_the_next_month(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    sec_ids = master_with(path, market())
    june, july = snapshot(sec_ids, 1), snapshot(sec_ids, 2)
    july_known = np.datetime64("2019-07-31T20:15")
    assert record_snapshots(path, [(june, JUNE, KNOWN), (july, "2019-07-31", july_known)]) == 2
    with SecurityMaster.open(path) as master:
        assert master.universe("uni_mc_50", "2019-06-28") is None
        assert master.universe("uni_mc_50", "2019-06-30") is None
        for day in ("2019-07-01", "2019-07-31"):
            found = master.universe("uni_mc_50", day)
            assert found is not None
            assert found.mask_as_of == np.datetime64(JUNE)
            assert found.members.tolist() == june.members.tolist()
        august = master.universe("uni_mc_50", "2019-08-01")
        assert august is not None
        assert august.members.tolist() == july.members.tolist()
        then = master.universe("uni_mc_50", "2019-08-01", known_as_of="2019-07-15T00:00:00Z")
        assert then is not None
        assert then.mask_as_of == np.datetime64(JUNE)
        assert [day for day, _ in master.snapshots("uni_mc_50")] == [np.datetime64(JUNE), np.datetime64("2019-07-31")]


def test_recording_the_same_snapshot_again_adds_nothing_and_another_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    sec_ids = master_with(path, market())
    assert record_snapshot(path, snapshot(sec_ids, 1), JUNE, KNOWN)
    content = path.read_bytes()
    assert not record_snapshot(path, snapshot(sec_ids, 1), JUNE, KNOWN)
    with pytest.raises(SnapshotConflict, match="is recorded with 50 members and cannot change"):
        record_snapshot(path, snapshot(sec_ids, 2), JUNE, KNOWN)
    assert path.read_bytes() == content


def test_abatch_of_snapshots_with_one_conflict_records_none(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    sec_ids = master_with(path, market())
    record_snapshot(path, snapshot(sec_ids, 1), JUNE, KNOWN)
    with pytest.raises(SnapshotConflict):
        record_snapshots(path, [(snapshot(sec_ids, 3), "2019-05-31", KNOWN), (snapshot(sec_ids, 2), JUNE, KNOWN)])
    with SecurityMaster.open(path) as master:
        assert len(master.snapshots("uni_mc_50")) == 1


def test_the_order_in_which_snapshots_are_recorded_does_not_show_in_the_file(tmp_path: Path) -> None:
    sec_ids = master_with(tmp_path / "m.sqlite", market())
    may, june = (snapshot(sec_ids, 3), "2019-05-31", KNOWN), (snapshot(sec_ids, 1), JUNE, KNOWN)
    found = set()
    for name, calls in {"at_once": [[june, may]], "in_turn": [[may], [june]], "backwards": [[june], [may]]}.items():
        path = tmp_path / f"{name}.sqlite"
        path.write_bytes((tmp_path / "m.sqlite").read_bytes())
        assert [record_snapshots(path, call) for call in calls] == [len(call) for call in calls]
        found.add(path.read_bytes())
    assert len(found) == 1


def test_a_member_that_is_no_security_is_refused_and_the_master_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    sec_ids = master_with(path, market())
    content = path.read_bytes()
    strange = np.where(sec_ids == snapshot(sec_ids, 1).members[0], "S99", sec_ids)
    with pytest.raises(sqlite3.IntegrityError, match="no security: 'S99'"):
        record_snapshot(path, snapshot(strange, 1), JUNE, KNOWN)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["m.sqlite"]


def test_members_are_not_added_to_a_recorded_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    sec_ids = master_with(path, market())
    record_snapshot(path, chosen := snapshot(sec_ids, 1), JUNE, KNOWN)
    content = path.read_bytes()
    late = sorted(set(sec_ids) - set(chosen.rows["sec_id"]))[:1]
    row = dict(
        zip(columns_of("universe_membership"), ("uni_mc_50", JUNE, "1", *late, 99, 1.0, "out", "rank"), strict=True)
    )
    added = typed_frame({name: [value] for name, value in row.items()}, "universe_membership")
    with pytest.raises(sqlite3.IntegrityError, match=f"is recorded already: '{late[0]}'"):
        write_master(path, {}, before=path, members=added)
    assert path.read_bytes() == content
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError, match="SNAPSHOT_PUBLISHED"):
        db.execute("INSERT INTO universe_membership VALUES (?, ?, ?, ?, ?, ?, ?, ?)", tuple(row.values()))


def test_a_master_that_has_moved_says_what_its_file_says(tmp_path: Path) -> None:
    path, tables = tmp_path / "m.sqlite", market()
    sec_ids = master_with(path, tables)
    with SecurityMaster.open(path) as master:
        read = master.listings()
        record_snapshot(path, snapshot(sec_ids, 1), JUNE, KNOWN)
        assert not master.snapshots("uni_mc_50")  # the file that it was opened from
        with master.moved_to(path) as moved:
            assert moved.listings() is read
            assert len(moved.snapshots("uni_mc_50")) == 1
        renamed = table("securities", listing("V150", "2016-01-04", ticker="T150", isin="US0000001500"))
        build_master(
            tmp_path / "later.sqlite", {"securities": pd.concat([tables["securities"], renamed])}, batch_id="b"
        )
        with master.moved_to(tmp_path / "later.sqlite") as other:
            assert len(other.listings()) == len(read) + 1
        assert master.listings() is read


def test_snapshots_of_a_master_of_an_older_version_are_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.sqlite"
    sec_ids = master_with(path, tables := market())
    record_snapshot(path, chosen := snapshot(sec_ids, 1), JUNE, KNOWN)
    steps = [*schema.migrations(), (2, "ALTER TABLE meta ADD COLUMN note TEXT NOT NULL DEFAULT '';")]
    monkeypatch.setattr(schema, "migrations", lambda: steps)
    after = tmp_path / "after.sqlite"
    build_master(after, tables, batch_id="later", previous=path)
    with SecurityMaster.open(after) as master:
        found = master.universe("uni_mc_50", "2019-07-01")
    assert found is not None
    assert found.members.tolist() == chosen.members.tolist()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["after.sqlite", "m.sqlite"]


def test_a_changed_rule_is_a_new_version_beside_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    sec_ids = master_with(path, market())
    rule = RULES["uni_mc_50"]
    record_snapshot(path, snapshot(sec_ids, 1, rule), JUNE, KNOWN)
    wider = replace(rule, version="2", band=0.2)
    record_snapshot(path, snapshot(sec_ids, 2, wider), JUNE, KNOWN)
    with SecurityMaster.open(path) as master:
        old, new = (master.universe("uni_mc_50", "2019-07-01", rule_version=v) for v in ("1", "2"))
    assert old is not None
    assert new is not None
    assert old.members.tolist() != new.members.tolist()


def test_a_published_snapshot_stays_when_a_hundred_names_die_are_renamed_or_corrected(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    tables = market()
    sec_ids = master_with(path, tables)
    chosen = snapshot(sec_ids, 1)
    record_snapshot(path, chosen, JUNE, KNOWN)
    codes = tables["securities"]["vendor_code"].tolist()
    dead = table("delistings", *(delisting(code, "2019-09-30", "merger") for code in codes[:40]))
    renamed = table(
        "ticker_changes", *(change(code, "2019-10-01", f"T{code[1:]}", f"N{code[1:]}") for code in codes[40:80])
    )
    corrected = table(
        "securities",
        *(
            listing(
                code,
                "2015-01-02",
                ticker=f"T{code[1:]}",
                isin=f"US{int(code[1:]):09d}0",
                known="2019-11-01T21:00:00",
                name="Corrected",
            )
            for code in codes[80:100]
        ),
    )
    later = {
        "securities": pd.concat([tables["securities"], corrected], ignore_index=True),
        "delistings": dead,
        "ticker_changes": renamed,
    }
    after = tmp_path / "after.sqlite"
    report = build_master(after, later, batch_id="later", previous=path)
    assert report.minted == ()
    with SecurityMaster.open(after) as master:
        found = master.universe("uni_mc_50", "2019-07-01")
        assert found is not None
        assert found.members.tolist() == chosen.members.tolist()
        assert master.roster()["last_session"].notna().sum() == 40


def test_a_rebuild_from_the_same_rows_keeps_the_snapshots_and_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    tables = market()
    sec_ids = master_with(path, tables)
    record_snapshot(path, snapshot(sec_ids, 2), "2019-07-31", np.datetime64("2019-07-31T20:15"))
    record_snapshot(path, snapshot(sec_ids, 1), JUNE, KNOWN)
    report = build_master(tmp_path / "again.sqlite", tables, batch_id="again", previous=path)
    with SecurityMaster.open(path) as master:
        assert report.build_id == master.build_id
    assert (tmp_path / "again.sqlite").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("seed", range(5))
def test_who_may_be_a_member_is_the_kind_of_the_last_stretch_that_had_begun_and_was_believed(seed: int) -> None:
    random = np.random.default_rng(seed)
    n, rows = 20, 200
    sec_ids, day = ids(n), np.datetime64("2015-01-02")
    listings = pd.DataFrame(
        {
            "sec_id": random.choice(sec_ids[: n - 2], rows),  # some are not listed at all
            "sec_type": random.choice(["common", "reit", "etf", "preferred"], rows),
            "currency": "USD",
            "exchange": "NYSE",
            "valid_from": day.astype("datetime64[s]") + random.permutation(rows) * 86400 - 100 * 86400,
            "known_from": day.astype("datetime64[us]") - random.integers(-10, 90, rows) * 86_400_000_000,
        }
    )
    listings["known_to"] = listings["known_from"] + pd.to_timedelta(random.integers(1, 99, rows), "D")
    dates, instants = np.repeat(day, n), np.repeat(np.datetime64("2015-01-02T21:00"), n)
    wanted = attributes(listings, sec_ids, dates, instants)["sec_type"].isin(MEMBER_TYPES).to_numpy()
    found = of_type(listings, sec_ids, day, instants[0], MEMBER_TYPES)
    assert 0 < found.sum() < n
    assert found.tolist() == wanted.tolist()
