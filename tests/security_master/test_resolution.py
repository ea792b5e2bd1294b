"""Tickers: spellings, nobody, nobody ever, several; many at once and quickly."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from security_master import AmbiguousTicker, SecurityMaster, UnknownTicker, schema
from security_master.names import canonical_ticker, comparable_name, market_of
from security_master.registry import Anchor, opaque_id
from tests.gates import smallest
from tests.security_master.tables import build, listing


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("BRK.B", "BRK.B"),
        ("BRK-B", "BRK.B"),
        ("brk/b", "BRK.B"),
        ("BRK B", "BRK.B"),
        (" brk_b ", "BRK.B"),
        ("aapl", "AAPL"),
        ("BAC-PL", "BAC.PRL"),
        ("BAC.PR.L", "BAC.PRL"),
        ("BAC^L", "BAC.PRL"),
        ("BAC PRL", "BAC.PRL"),
        ("PBR-A", "PBR.A"),
        ("XYZ-WT", "XYZ.WS"),
        ("XYZ.WS", "XYZ.WS"),
        ("XYZ-UN", "XYZ.U"),
        ("NA", "NA"),
        ("", ""),
    ],
)
def test_spellings_of_one_ticker_have_one_canonical_form(written: str, canonical: str) -> None:
    assert canonical_ticker(written) == canonical
    assert canonical_ticker(canonical) == canonical


def test_names_compare_without_legal_words() -> None:
    assert comparable_name("Apple Inc.") == comparable_name("APPLE, INC") == "APPLE"
    assert comparable_name("The Company") != ""


def test_exchanges_belong_to_markets() -> None:
    assert {market_of(e) for e in ("", "US", "NYSE", "NASDAQ", "NYSE ARCA", "BATS")} == {"US"}
    assert {market_of(e) for e in ("OTC", "PINK", "OTCQB")} == {"US-OTC"}
    assert market_of("LSE") == "LSE"


@pytest.mark.parametrize("spelling", ["BRK.B", "BRK-B", "brk/b", "Brk b"])
def test_every_spelling_resolves(world_master: SecurityMaster, spelling: str) -> None:
    expected = world_master.assign(["BRK-B"], ["2020-01-02"])[0]
    assert world_master.resolve(spelling, "2020-01-02") == expected


def test_dates_are_taken_in_any_form_and_need_no_session(world_master: SecurityMaster) -> None:
    forms = ["2020-01-04", date(2020, 1, 4), datetime(2020, 1, 4, tzinfo=UTC), np.datetime64("2020-01-04")]
    assert len({world_master.resolve("SPY", form) for form in [*forms, pd.Timestamp("2020-01-04")]}) == 1


def test_a_date_is_required_and_must_be_one(world_master: SecurityMaster) -> None:
    with pytest.raises(TypeError):
        world_master.resolve("SPY")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="2020-13-01"):
        world_master.resolve("SPY", "2020-13-01")


def test_an_instant_without_a_zone_is_refused(world_master: SecurityMaster) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        world_master.resolve("SPY", "2020-01-02", known_as_of="2020-01-02T16:00:00")


def test_a_ticker_that_nobody_ever_had_is_unknown_and_the_nearest_are_named(world_master: SecurityMaster) -> None:
    with pytest.raises(UnknownTicker, match="GOOGL") as caught:
        world_master.resolve("GOGL", "2020-01-02")
    assert "GOOG" in caught.value.nearest
    with pytest.raises(UnknownTicker, match=r"BRK\.B") as caught:
        world_master.resolve("BRKB", "2020-01-02")
    assert caught.value.nearest == ("BRK.B",)


def test_a_ticker_is_unknown_before_anybody_knew_it(world_master: SecurityMaster) -> None:
    with pytest.raises(UnknownTicker):
        world_master.resolve("META", "2022-06-09", known_as_of="2015-01-01T00:00:00Z")


def test_what_was_known_then_differs_from_what_is_known_now(world_master: SecurityMaster) -> None:
    meta = world_master.resolve("META", "2022-06-10")
    assert world_master.resolve("FB", "2022-06-10") is None
    assert world_master.resolve("FB", "2022-06-10", known_as_of="2022-06-01T00:00:00Z") == meta


def test_one_symbol_in_two_markets_is_ambiguous_until_the_exchange_is_named(tmp_path: Path) -> None:
    rows = [listing("A", "2006-01-03", ticker="ABC"), listing("B", "2006-01-03", ticker="ABC", exchange="LSE")]
    master, _ = build(tmp_path / "m.sqlite", securities=rows)
    with pytest.raises(AmbiguousTicker, match="name the exchange") as caught:
        master.resolve("ABC", "2010-01-04")
    assert len(caught.value.candidates) == 2
    assert master.resolve("ABC", "2010-01-04", exchange="LSE") == master.assign(["B"], ["2010-01-04"])[0]
    asked = pd.DataFrame({"ticker": ["abc"], "date": ["2010-01-04"]}).astype({"date": "datetime64[s]"})
    assert master.resolve_many(asked)["status"].tolist() == ["ambiguous"]


def test_many_at_once_say_how_each_ended(world_master: SecurityMaster) -> None:
    asked = pd.DataFrame(
        {"ticker": ["brk/b", "FB", "NOSUCH", "BBBYQ"], "date": ["2020-01-02", "2010-01-04", "2020-01-02", "2023-06-01"]}
    ).astype({"date": "datetime64[s]"})
    answered = world_master.resolve_many(asked)
    assert answered["status"].tolist() == ["ok", "none", "unknown", "none"]
    assert world_master.resolve_many(asked, mode="any")["status"].tolist()[3] == "ok"
    assert answered.columns.tolist() == ["ticker", "date", "sec_id", "status"]


def master_of(n: int, path: Path) -> list[str]:
    """A master of `n` securities at `path`. Returns their tickers; each has passed from one security to another."""
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    tickers = ["".join(letters[[i // 17576, i // 676 % 26, i // 26 % 26, i % 26]]) for i in range(n)]
    sec_ids = [opaque_id(Anchor("listing", ticker)) for ticker in tickers]
    known, never = "2006-01-03T21:00:00.000000Z", "9999-12-31T00:00:00.000000Z"
    db = schema.create(path)
    db.execute("BEGIN")
    db.execute("INSERT INTO load_batch VALUES ('b', 1, 1)")
    securities = zip(sec_ids, tickers, [known] * n, strict=True)
    db.executemany("INSERT INTO security VALUES (?, 'listing', ?, ?, 'b')", securities)
    for first, last in (("2006-01-03", "2012-06-01"), ("2012-06-01", "9999-12-31")):  # each ticker has two holders
        holders = sec_ids if first < "2010" else sec_ids[1:] + sec_ids[:1]
        db.executemany(
            "INSERT INTO ticker_map VALUES "
            f"(NULL, ?, 'US', ?, 'regular', '{first}', '{last}', '{known}', '{never}', 0, 'securities', 'e', 'b')",
            zip(holders, tickers, strict=True),
        )
    db.execute("COMMIT")
    db.close()
    return tickers


def test_a_resolution_costs_the_same_among_thirty_thousand_securities_as_among_one_thousand(tmp_path: Path) -> None:
    """Without an index it would cost thirty times as much."""
    asked = {}
    for n in (1_000, 30_000):
        tickers = np.random.default_rng(1).choice(master_of(n, tmp_path / str(n)), 1_000, replace=False)
        days = np.array(["2007-01-03", "2009-01-02", "2011-01-03", "2013-01-02", "2015-01-02"], "datetime64[s]")
        asked[n] = pd.DataFrame({"ticker": np.repeat(tickers, 5), "date": np.tile(days, 1_000)})

    def seconds(n: int, many: bool) -> float:
        with SecurityMaster.open(tmp_path / str(n)) as master:
            began = time.process_time()
            if many:
                master.resolve_many(asked[n])
            else:
                for ticker in asked[n]["ticker"]:
                    master.resolve(ticker, "2015-01-02")
            return time.process_time() - began

    for many in (True, False):
        ratio = smallest(lambda many=many: seconds(30_000, many) / seconds(1_000, many), 6)
        assert ratio < 6, f"many: {many}"


def test_many_resolutions_at_once_answer_as_one_by_one(tmp_path: Path) -> None:
    tickers = master_of(3_000, tmp_path / "master.sqlite")
    with SecurityMaster.open(tmp_path / "master.sqlite") as master:
        answered = master.resolve_many(pd.DataFrame({"ticker": tickers, "date": np.datetime64("2015-01-02", "s")}))
        assert answered["sec_id"].tolist() == [master.resolve(ticker, "2015-01-02") for ticker in tickers]
