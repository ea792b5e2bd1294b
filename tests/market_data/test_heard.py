"""A master that has heard a delivery is not made again, and what says so is never believed when it is damaged."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.market_data import delivery, heard
from pipeline.market_data.cleaning import clean_events
from pipeline.market_data.delivery import Delivery
from pipeline.settings import CleaningRules, SimulatedMarket
from pipeline.sources import SimulatedSource, SourceTables

MARKET = SimulatedMarket(stocks=6, first_session="2018-01-02", last_session="2018-06-29")


@pytest.fixture(scope="module")
def tables() -> SourceTables:
    return SimulatedSource(MARKET).load()


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The masters that are made of rows."""
    paths: list[Path] = []
    inner = delivery.build_master

    def counted(path, *given, **named):
        paths.append(path)
        return inner(path, *given, **named)

    monkeypatch.setattr(delivery, "build_master", counted)
    return paths


def told(tables: SourceTables, place: Path | None) -> Delivery:
    """The delivery as another process has it."""
    return Delivery("files", clean_events(tables, CleaningRules()), place)


def known(delivery_of: Delivery, place: Path, master: Path) -> None:
    """A run ends, and leaves this master."""
    delivery_of.leave_word(place)
    heard.keep(place / "machine", place, master)


@pytest.fixture
def first(tables: SourceTables, tmp_path: Path, built: list[Path]) -> Path:
    """A master as a run leaves it."""
    one = told(tables, tmp_path / "machine")
    one.build_master(tmp_path / "first.sqlite", "a", None)
    known(one, tmp_path, tmp_path / "first.sqlite")
    built.clear()
    return tmp_path / "first.sqlite"


def test_the_same_delivery_is_heard_once(tables, first, built, tmp_path):
    ours = told(tables, tmp_path / "machine").build_master(tmp_path / "ours.sqlite", "b", first)
    assert built == []
    theirs = told(tables, None).build_master(tmp_path / "theirs.sqlite", "b", first)
    assert built == [tmp_path / "theirs.sqlite"]
    assert (tmp_path / "ours.sqlite").read_bytes() == (tmp_path / "theirs.sqlite").read_bytes()
    assert ours == theirs


def later(frame: pd.DataFrame) -> pd.DataFrame:
    row = frame.iloc[[-1]]
    return pd.concat([frame, row.assign(known_from=row["known_from"] + pd.Timedelta(days=1))], ignore_index=True)


CHANGES: dict[str, Callable[[SourceTables], SourceTables]] = {
    "a row of shares more": lambda t: replace(t, shares=later(t.shares)),
    "a count": lambda t: replace(t, shares=t.shares.assign(shares=t.shares["shares"] + 1)),
    "a security less": lambda t: replace(t, securities=t.securities.iloc[:-1]),
    "a name": lambda t: replace(t, securities=t.securities.assign(name="X")),
    "no classes": lambda t: replace(t, classification=t.classification.iloc[:0]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_delivery_that_says_anything_else_is_heard(tables, first, built, tmp_path, change):
    other = CHANGES[change](tables)
    told(other, tmp_path / "machine").build_master(tmp_path / "ours.sqlite", "b", first)
    assert built == [tmp_path / "ours.sqlite"]


def test_another_master_hears_the_delivery(tables, first, built, tmp_path):
    other = tmp_path / "other.sqlite"
    told(replace(tables, shares=later(tables.shares)), None).build_master(other, "z", first)
    built.clear()
    told(tables, tmp_path / "machine").build_master(tmp_path / "ours.sqlite", "b", other)
    assert built == [tmp_path / "ours.sqlite"]


def test_bars_count_where_they_date_a_listing(tables, first, built, tmp_path):
    undated = replace(tables, securities=tables.securities.assign(first_session=pd.NaT))
    one = told(undated, tmp_path / "machine")
    one.build_master(tmp_path / "undated.sqlite", "a", None)
    known(one, tmp_path, tmp_path / "undated.sqlite")
    built.clear()
    fewer = replace(undated, prices=undated.prices[undated.prices["date"] > "2018-01-10"].reset_index(drop=True))
    for tables_now, anew in ((undated, 0), (fewer, 1)):
        told(tables_now, tmp_path / "machine").build_master(tmp_path / "ours.sqlite", "b", tmp_path / "undated.sqlite")
        assert len(built) == anew


def spoil(place: Path, how: Callable[[bytes], bytes]) -> None:
    (pack,) = (place / "heard").rglob("*.pack")
    pack.write_bytes(how(pack.read_bytes()))


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: shutil.rmtree(place / "heard"),
        lambda place: spoil(place, lambda data: b""),
        lambda place: spoil(place, lambda data: data[:-1]),
        lambda place: spoil(place, lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:]),
        lambda place: spoil(place, lambda data: hashlib.sha256(b"\x80\x05N.").digest() + b"\x80\x05N."),
    ],
    ids=["missing", "empty", "cut", "flipped", "something else"],
)
def test_what_is_damaged_is_not_believed(tables, first, built, tmp_path, damage):
    damage(tmp_path / "machine")
    told(tables, tmp_path / "machine").build_master(tmp_path / "ours.sqlite", "b", first)
    assert built == [tmp_path / "ours.sqlite"]


def test_what_other_code_heard_is_not_believed(tables, first, built, tmp_path, monkeypatch):
    monkeypatch.setattr(heard, "code_version", lambda: "another")
    told(tables, tmp_path / "machine").build_master(tmp_path / "ours.sqlite", "b", first)
    assert built == [tmp_path / "ours.sqlite"]
