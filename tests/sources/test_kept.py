"""Kept bars: parsed once for each content, and never believed when they are not what was written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.settings import SimulatedMarket
from pipeline.sources import FilesSource, SimulatedSource, SourceError, SourceTables
from pipeline.sources.kept import parts
from tests.laid import lay

SINCE = np.datetime64("2018-11-15")
MARKET = SimulatedMarket(stocks=4, first_session="2017-07-03", last_session="2018-12-31")


@pytest.fixture(scope="module")
def once_laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables as delivered and what a machine keeps of them. Only copy it."""
    place = tmp_path_factory.mktemp("kept")
    load(lay(place / "tables", SimulatedSource(MARKET).load().frames), place / "machine")
    return place


@pytest.fixture
def place(once_laid: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once_laid, tmp_path / "kept"))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each part that is parsed."""
    rows: list[int] = []
    inner = parts.type_table

    def counted(raw: parts.RawTable) -> parts.TypedTable:
        rows.append(raw.cells.num_rows)
        return inner(raw)

    monkeypatch.setattr(parts, "type_table", counted)
    return rows


def load(tables: Path, machine: Path) -> SourceTables:
    return FilesSource(tables, machine, SINCE).load()


def all_bars(tables: SourceTables) -> pd.DataFrame:
    return tables.bars_of(tables.prices["vendor_code"].cat.categories.tolist()).reset_index(drop=True)


def assert_whole(place: Path) -> None:
    """What is loaded is what the files say."""
    kept, whole = load(place / "tables", place / "machine"), FilesSource(place / "tables").load()
    pd.testing.assert_frame_equal(all_bars(kept), whole.prices, check_exact=True)
    for name, frame in whole.frames.items():
        if name != "prices":
            pd.testing.assert_frame_equal(frame, kept.frames[name], check_exact=True)
    assert kept.origins == whole.origins
    assert kept.notices == whole.notices
    first = whole.prices.groupby("vendor_code", observed=True)["date"].min()
    assert kept.first_dates().to_dict() == {str(code): day for code, day in first.items()}


def kept_files(place: Path) -> list[Path]:
    return sorted((place / "machine").rglob("*.bars"))


def test_what_did_not_change_is_not_parsed_again_and_a_changed_part_alone_is(place, parsed):
    assert_whole(place)
    assert parsed == []
    changed = place / "tables" / "prices.parquet" / "2018-1.parquet"
    rows = pd.read_parquet(changed)
    rows.loc[0, "close"] *= 2
    rows.to_parquet(changed, index=False)
    assert_whole(place)
    assert parsed == [len(rows)]
    assert len(kept_files(place)) == len(list(changed.parent.iterdir())), "what is delivered no more is not kept"


def flipped(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 0x10
    path.write_bytes(bytes(data))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut at its end": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut in the middle": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a flipped bit in the rows": lambda path: flipped(path, 0.3),
    "a flipped bit in the first row": lambda path: flipped(path, 0.0),
    "a flipped bit in the index": lambda path: flipped(path, 0.999),
    "a flipped bit at the end": lambda path: flipped(path, 1.0),
    "that of another content": lambda path: shutil.copy(next(p for p in path.parent.iterdir() if p != path), path),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_bars_are_made_again_and_never_believed(place, parsed, damage):
    victim = kept_files(place)[0]
    DAMAGE[damage](victim)
    assert_whole(place)
    assert len(parsed) == 1
    assert_whole(place)
    assert len(parsed) == 1, "and are kept again"


def test_bars_that_are_damaged_while_they_are_used_are_made_again(place, parsed):
    tables = load(place / "tables", place / "machine")
    for victim in kept_files(place):
        flipped(victim, 0.1)
    whole = FilesSource(place / "tables").load()
    pd.testing.assert_frame_equal(all_bars(tables), whole.prices, check_exact=True)
    assert parsed


def test_what_other_code_kept_is_not_looked_at_and_removed(place, parsed, monkeypatch):
    old = {path.parent for path in kept_files(place)}
    monkeypatch.setattr(parts, "code_version", lambda: "another")
    assert_whole(place)
    assert len(parsed) == len(kept_files(place)) > 0
    assert not any(folder.exists() for folder in old)


def test_a_place_where_nothing_can_be_kept_reads_all(place, parsed):
    shutil.rmtree(place / "machine")
    (place / "machine").write_text("a file")
    tables = load(place / "tables", place / "machine")
    assert tables.earlier is None
    pd.testing.assert_frame_equal(tables.prices, FilesSource(place / "tables").load().prices, check_exact=True)


def test_parts_that_tell_of_the_same_days_are_kept_together(place, parsed):
    folder = place / "tables" / "prices.parquet"
    rows = pd.read_parquet(folder / "2018-2.parquet")
    correction = rows.iloc[[100]].assign(close=1.0, known_from=pd.Timestamp("2018-12-20T22:00", tz="UTC"))
    correction.to_parquet(folder / "corrections.parquet", index=False)
    assert_whole(place)
    assert parsed == [len(rows) + 1]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda rows: rows.assign(vendor_code="NOBODY"), "unknown vendor_code 'NOBODY'"),
        (lambda rows: pd.concat([rows, rows.iloc[:1].assign(close=-1.0)]), "a second row for"),
        (lambda rows: rows.assign(close="1.5"), "the parts have different columns"),
        (lambda rows: rows.drop(columns="date"), "the parts have different columns"),
    ],
)
def test_a_fault_in_a_part_is_told_as_if_nothing_were_kept(place, spoil, says):
    part = place / "tables" / "prices.parquet" / "2018-1.parquet"
    spoil(pd.read_parquet(part)).to_parquet(part, index=False)
    with pytest.raises(SourceError, match=says) as ours:
        load(place / "tables", place / "machine")
    with pytest.raises(SourceError) as theirs:
        FilesSource(place / "tables").load()
    assert str(ours.value) == str(theirs.value)


def test_bars_that_are_told_twice_are_counted_once_and_noted(place):
    part = place / "tables" / "prices.parquet" / "2018-1.parquet"
    rows = pd.read_parquet(part)
    pd.concat([rows, rows.iloc[:3]]).to_parquet(part, index=False)
    assert_whole(place)
    assert any("exact duplicates" in notice.what for notice in load(place / "tables", place / "machine").notices)


def test_a_single_file_and_a_file_without_statistics_are_kept_too(place, parsed):
    folder = place / "tables" / "prices.parquet"
    rows = pd.concat([pd.read_parquet(part) for part in sorted(folder.iterdir())], ignore_index=True)
    shutil.rmtree(folder)
    rows.to_parquet(folder, index=False, write_statistics=False)
    for _ in range(2):
        assert_whole(place)
    assert parsed == [len(rows)]
