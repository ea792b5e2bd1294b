"""Promises that hold for any tables, however odd: random small markets, cut, shuffled, delivered in parts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.calendar import xnys
from pipeline.sources.knowledge import known_tables
from security_master import SecurityMaster, build_master
from tests.security_master.tables import change, delisting, listing, table
from tests.security_master.test_stability import facts_of

SESSIONS = xnys().between("2010-01-04", "2013-12-31")


def market(rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """A few vendor codes that are used, reused, renamed and corrected at random, with few and shared identifiers."""
    codes, tickers = [f"V{k}" for k in range(5)], ["AAA", "BBB", "CCC", "DDD"]
    rows: list[dict[str, Any]] = []
    for code in codes:
        start = int(rng.integers(0, 60))
        for _ in range(int(rng.integers(1, 4))):
            end = start + int(rng.integers(5, 200))
            last = end if rng.random() < 0.7 else None
            rows += versions(rng, code, tickers, start, last)
            start = end + int(rng.choice([1, 2, 20, 60]))
            if last is None:
                break
    changes = [
        change(str(rng.choice(codes)), day(int(rng.integers(0, 400))), *rng.choice(tickers, 2, replace=False).tolist())
        for _ in range(int(rng.integers(0, 6)))
    ]
    changes = list({(c["vendor_code"], c["effective_date"]): c for c in changes}.values())
    ends = [
        delisting(r["vendor_code"], r["last_session"], str(rng.choice(["merger", "bankruptcy", "exchange_drop"])))
        for r in rows
        if r["last_session"] and rng.random() < 0.3
    ]
    ends = list({(e["vendor_code"], e["last_session"]): e for e in ends}.values())
    filings = [
        {
            "vendor_code": str(rng.choice(codes)),
            "period_end": day(p),
            "filed_at": f"{day(p + 30)}T21:00:00",
            "shares": 1.0 + p,
        }
        | {"known": f"{day(p + 30 + int(rng.choice([0, 5])))}T21:00:00"}
        for p in rng.choice(400, 8, replace=False).tolist()
    ]
    classes = [
        {
            "vendor_code": str(rng.choice(codes)),
            "valid_from": day(v),
            "fs_industry_code": str(rng.choice(["2510", "3210"])),
        }
        | {"known": f"{day(v + int(rng.choice([-1, 0, 9])))}T20:00:00"}
        for v in rng.choice(400, 8, replace=False).tolist()
    ]
    return {
        "securities": table("securities", *rows),
        "ticker_changes": table("ticker_changes", *changes) if changes else empty("ticker_changes"),
        "delistings": table("delistings", *ends) if ends else empty("delistings"),
        "shares": table("shares", *filings),
        "classification": table("classification", *classes),
        "prices": pd.DataFrame(
            {
                "vendor_code": pd.Categorical(codes, categories=codes),
                "known_from": np.full(len(codes), np.datetime64(f"{SESSIONS[0]}T21:15", "us")),
            }
        ),
    }


def versions(
    rng: np.random.Generator, code: str, tickers: list[str], start: int, last: int | None
) -> list[dict[str, Any]]:
    """A row of `securities`, and perhaps a later version of it."""
    ids = {}
    if rng.random() < 0.5:
        ids["share_class_figi"] = f"BBG{int(rng.integers(0, 4))}"
    if rng.random() < 0.5:
        ids["isin"] = f"US000000000{int(rng.integers(0, 4))}"
    if rng.random() < 0.5:
        ids["cik"] = str(int(rng.integers(1, 4)))
    first = listing(
        code,
        day(start),
        None if last is None else day(last),
        ticker=str(rng.choice(tickers)),
        name=str(rng.choice(["", "Abacus", "Abbey"])),
        exchange=str(rng.choice(["NYSE", "OTC"], p=[0.8, 0.2])),
        **ids,
    )
    if rng.random() < 0.7:
        return [first]
    later = first | {"known": f"{day(start + int(rng.integers(1, 80)))}T21:00:00"}
    later |= {"ticker": str(rng.choice(tickers)), "isin": f"US000000000{int(rng.integers(0, 4))}"}
    return [first, later]


def empty(name: str) -> pd.DataFrame:
    made = {
        "ticker_changes": table(name, change("V0", "2010-01-04", "AAA", "BBB")),
        "delistings": table("delistings", delisting("V0", "2010-01-04", "merger")),
    }
    return made[name].iloc[:0]


def day(number: int) -> str:
    """The session with a number; the sessions before the first one are the first one."""
    return str(SESSIONS[max(number, 0)])


def master_of(folder: Path, name: str, tables: dict[str, pd.DataFrame], **more: Any) -> SecurityMaster:
    path = folder / f"{name}.sqlite"
    frames = {key: frame for key, frame in tables.items() if key != "prices"}
    build_master(path, frames, batch_id="any", **more)
    return SecurityMaster.open(path)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_market_replays_and_does_not_depend_on_order_or_packaging(seed: int) -> None:
    check_market(seed)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_hundreds_of_markets_replay_and_do_not_depend_on_order_or_packaging(seed: int) -> None:
    check_market(seed)


def check_market(seed: int) -> None:
    """Build one random market in several ways and ask the same of each."""
    rng = np.random.default_rng(seed)
    tables = market(rng)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        full = master_of(folder, "full", tables)

        mixed = {
            n: pd.concat([f, f]).sample(frac=1, random_state=seed % 2**31) for n, f in tables.items() if n != "prices"
        }
        master_of(folder, "mixed", {n: f.reset_index(drop=True) for n, f in mixed.items()})
        assert (folder / "mixed.sqlite").read_bytes() == (folder / "full.sqlite").read_bytes()

        instant = np.datetime64(f"{day(int(rng.integers(0, 450)))}T22:00", "us")
        cut = known_tables(tables, instant)
        then = master_of(folder, "then", cut)
        same_answers(full, then, instant)

        grown = folder / "grown.sqlite"
        build_master(
            grown,
            {n: f for n, f in tables.items() if n != "prices"},
            batch_id="rest",
            previous=folder / "then.sqlite",
            max_lost_share=1.0,
            keep_ids=True,
        )
        assert facts_of(grown) == facts_of(folder / "full.sqlite")


def same_answers(full: SecurityMaster, then: SecurityMaster, instant: np.datetime64) -> None:
    """What the full master knew at an instant is what a master of that instant says."""
    roster = then.roster()
    pd.testing.assert_frame_equal(full.roster(known_as_of=instant), roster)
    days = SESSIONS[:600:13]
    asked = pd.DataFrame([(t, d) for t in ("AAA", "BBB", "CCC", "DDD") for d in days], columns=["ticker", "date"])
    pd.testing.assert_frame_equal(
        full.resolve_many(asked, known_as_of=instant, mode="any"), then.resolve_many(asked, mode="any")
    )
    assert full.queue(known_as_of=instant)["question_id"].tolist() == then.queue()["question_id"].tolist()
    sec_ids = roster["sec_id"].tolist()
    sessions = SESSIONS[instant.astype("datetime64[D]") >= SESSIONS]
    instants = sessions.astype("datetime64[us]") + np.timedelta64(22, "h")
    np.testing.assert_array_equal(
        full.classification_panel(sec_ids, sessions, instants), then.classification_panel(sec_ids, sessions, instants)
    )
    np.testing.assert_array_equal(
        full.shares_panel(sec_ids, sessions, instants, 400), then.shares_panel(sec_ids, sessions, instants, 400)
    )
