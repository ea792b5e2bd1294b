"""Ids and facts do not depend on the order, the repetition or the packaging of what is delivered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from security_master import SecurityMaster, build_master
from security_master.derive import FACT_TABLES
from tests.security_master.tables import build, change, evening, listing, table

FULL = ("securities", "ticker_changes", "classification", "shares", "splits", "spin_offs", "delistings")


def facts_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that a master says, without the batches it came in."""
    with SecurityMaster.open(path) as master:
        store = master._store
        said = {
            name: sorted(store.table(name).drop(columns="batch_id").astype(str).itertuples(index=False, name=None))
            for name in FACT_TABLES
        }
        said["id_registry"] = store.rows(
            "SELECT anchor_type, anchor_value, anchor_from, sec_id, rule, known_from FROM id_registry ORDER BY 1, 2, 3"
        )
        return said


def shuffled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


def test_the_same_tables_make_the_same_file_byte_for_byte(world: Any, world_path: Path, tmp_path: Path) -> None:
    build_master(tmp_path / "again.sqlite", world.frames, batch_id="world")
    assert (tmp_path / "again.sqlite").read_bytes() == world_path.read_bytes()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shuffled_and_repeated_rows_change_nothing(world: Any, world_path: Path, tmp_path: Path, seed: int) -> None:
    frames = {name: shuffled(pd.concat([world.frames[name]] * 2), seed) for name in FULL}
    build_master(tmp_path / "shuffled.sqlite", frames, batch_id="world")
    assert facts_of(tmp_path / "shuffled.sqlite") == facts_of(world_path)
    assert (tmp_path / "shuffled.sqlite").read_bytes() == world_path.read_bytes()


def test_delivering_the_same_tables_again_adds_nothing(world: Any, world_path: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.sqlite"
    report = build_master(second, world.frames, batch_id="second", previous=world_path)
    with SecurityMaster.open(world_path) as first:
        assert report.build_id == first.build_id
    assert (report.new_rows, report.minted, report.restated, report.revisions) == ({}, (), 0, ())
    assert second.read_bytes() == world_path.read_bytes()


def test_batches_one_after_the_other_say_the_same_as_all_at_once(world: Any, world_path: Path, tmp_path: Path) -> None:
    path: Path | None = None
    for year in range(2003, 2028, 4):
        known = world.as_known(np.datetime64(f"{year}-01-01")).frames
        following = tmp_path / f"{year}.sqlite"
        build_master(following, known, batch_id=f"by {year}", previous=path)
        path = following
    assert path is not None
    assert facts_of(path) == facts_of(world_path)


def test_ids_of_what_is_known_by_a_date_do_not_depend_on_what_comes_after(
    world: Any, world_master: SecurityMaster, tmp_path: Path
) -> None:
    sessions = ["2003-03-31", "2008-09-26", "2009-06-01", "2009-08-05", "2012-05-18", "2013-07-01", "2014-04-03"]
    sessions += ["2015-10-05", "2016-12-07", "2017-09-01", "2019-06-03", "2022-06-09", "2023-05-03", "2025-06-24"]
    codes = sorted(set(world.securities["vendor_code"]))
    for day in sessions:
        path = tmp_path / f"{day}.sqlite"
        build_master(path, world.as_known(np.datetime64(f"{day}T22:00")).frames, batch_id="cut")
        with SecurityMaster.open(path) as cut:
            days = np.full(len(codes), np.datetime64(day))
            assert cut.assign(codes, days).tolist() == world_master.assign(codes, days).tolist(), day
            assert set(cut.roster()["sec_id"]) <= set(world_master.roster()["sec_id"])


# -- a larger, made-up market ---------------------------------------------------------------------------------------

N = 400


def market() -> dict[str, pd.DataFrame]:
    """Companies with a FIGI, an ISIN, or nothing but their vendor's code; some end."""
    rng = np.random.default_rng(7)
    rows = []
    for i in range(N):
        first = np.datetime64("2006-01-03") + np.timedelta64(int(rng.integers(0, 3000)), "D")
        last = first + np.timedelta64(int(rng.integers(200, 2500)), "D") if rng.random() < 0.4 else None
        evidence: dict[str, str] = [
            {"share_class_figi": f"BBG{i:09d}", "isin": f"US{i:09d}0"},
            {"isin": f"US{i:09d}0"},
            {"cik": str(i + 1)},
            {},
        ][i % 4]
        rows.append(
            listing(
                f"V{i:04d}", str(first), str(last) if last else None, ticker=f"T{i:03d}", name=f"Co {i}", **evidence
            )
        )
    return {"securities": table("securities", *rows)}


def renames(first: dict[str, pd.DataFrame], n: int) -> pd.DataFrame:
    """n ticker changes of securities that are still listed, in 2020."""
    alive = first["securities"][first["securities"]["last_session"].isna()]
    return table(
        "ticker_changes",
        *(
            change(row.vendor_code, f"2020-{1 + k % 12:02d}-10", row.ticker, f"N{k:03d}")
            for k, row in enumerate(alive.head(n).itertuples())
        ),
    )


def recyclings(first: dict[str, pd.DataFrame], n: int) -> pd.DataFrame:
    """n new companies under the codes and tickers of dead ones, in 2021."""
    dead = first["securities"].dropna(subset=["last_session"])
    return table(
        "securities",
        *(
            listing(row.vendor_code, f"2021-{1 + k % 12:02d}-11", ticker=row.ticker, name=f"Heir {k}")
            for k, row in enumerate(dead.head(n).itertuples())
        ),
    )


def assigned(path: Path, securities: pd.DataFrame) -> list[str]:
    """Ids on the first session of each row."""
    with SecurityMaster.open(path) as master:
        return [str(s) for s in master.assign(securities["vendor_code"], securities["first_session"].to_numpy())]


def test_fifty_renames_and_twenty_recyclings_leave_every_earlier_id(tmp_path: Path) -> None:
    first = market()
    one = tmp_path / "one.sqlite"
    build_master(one, first, batch_id="one")
    before = assigned(one, first["securities"])
    assert len(set(before)) == N
    changes, heirs = renames(first, 50), recyclings(first, 20)
    both = pd.concat([first["securities"], heirs], ignore_index=True)
    two = tmp_path / "two.sqlite"
    report = build_master(
        two, {"securities": shuffled(both, 3), "ticker_changes": changes}, batch_id="two", previous=one
    )
    assert len(changes) == 50
    assert len(report.minted) == len(heirs) == 20
    assert assigned(two, first["securities"]) == before
    assert not set(assigned(two, heirs)) & set(before)
    with SecurityMaster.open(two) as master:
        for k, row in enumerate(changes.itertuples()):
            assert master.resolve(f"N{k:03d}", "2021-01-04") == master.resolve(row.old_ticker, "2020-01-02")
    # a cold rebuild from all rows at once, and one that replays the batches, give the same ids
    cold = tmp_path / "cold.sqlite"
    build_master(cold, {"securities": both, "ticker_changes": changes}, batch_id="cold")
    assert assigned(cold, both) == assigned(two, both)
    assert facts_of(cold) == facts_of(two)


def test_a_vendor_that_is_dropped_and_comes_back_finds_its_ids(tmp_path: Path) -> None:
    full = market()
    one = tmp_path / "one.sqlite"
    build_master(one, full, batch_id="one")
    before = assigned(one, full["securities"])
    half = {"securities": full["securities"].iloc[: N // 2]}
    build_master(tmp_path / "two.sqlite", half, batch_id="two", previous=one, max_lost_share=1.0)
    assert assigned(tmp_path / "two.sqlite", full["securities"]) == before
    report = build_master(tmp_path / "three.sqlite", full, batch_id="three", previous=tmp_path / "two.sqlite")
    assert report.minted == ()
    assert assigned(tmp_path / "three.sqlite", full["securities"]) == before
    assert facts_of(tmp_path / "three.sqlite") == facts_of(one)


def test_another_vendor_with_other_codes_finds_the_ids_by_identifier(tmp_path: Path) -> None:
    full = market()["securities"]
    one = tmp_path / "one.sqlite"
    build_master(one, {"securities": full}, batch_id="one")
    with_isin = full[full["isin"] != ""].reset_index(drop=True)
    other = with_isin.assign(
        vendor_code="W" + with_isin["vendor_code"],
        known_from=np.datetime64(evening("2022-01-03"), "us"),
    )
    # both vendors' lines at once are one security by FIGI; by ISIN alone they are a question
    report = build_master(
        tmp_path / "two.sqlite", {"securities": other}, batch_id="two", previous=one, max_lost_share=1.0
    )
    assert report.minted == ()
    figis = other["share_class_figi"] != ""
    kinds = {q.kind for q in report.open_questions}
    assert kinds == {"two_codes_one_identifier"}
    assert len(report.open_questions) == int((~figis).sum())


def test_first_bars_stand_in_for_a_first_session_that_is_not_stated(tmp_path: Path) -> None:
    row = listing("ABC", "2006-01-03") | {"first_session": None}
    master, _ = build(tmp_path / "m.sqlite", securities=[row], first_bars={"ABC": "2006-01-03"})
    assert master.roster()["first_session"].tolist() == [pd.Timestamp("2006-01-03")]
    assert master.assign(["ABC", "ABC"], ["2005-12-30", "2006-01-03"]).tolist()[0] == ""
    unstated, _ = build(tmp_path / "n.sqlite", securities=[row])
    assert unstated.assign(["ABC"], ["1999-12-30"])[0] == master.assign(["ABC"], ["2006-01-03"])[0]
