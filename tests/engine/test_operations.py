"""Backfills in pieces, restatements of published sessions, and the reach of a change."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pipeline.calendar import xnys
from pipeline.engine import execution, family, operations
from pipeline.market_data.delivery import Delivery
from pipeline.read import history, open_dataset
from pipeline.settings import AuditBounds, ModelParameters, Settings, SimulatedMarket
from pipeline.sources import SourceTables
from pipeline.store.overlay import Overlay
from pipeline.vendors.layers import open_source
from tests.engine.published_market import Delivered

START, END = "2018-09-04", "2019-03-29"
FEW = "2018-10-01", "2018-10-05", "2018-10-08"
"""The first and last of a few sessions, and the next one."""
WINDOW = 60


def settings_at(root: Path) -> Settings:
    return Settings(
        root=str(root),
        model=ModelParameters(window=WINDOW, min_obs=30, half_life=30.0),
        simulated=SimulatedMarket(stocks=30, first_session="2018-01-02", last_session="2019-06-28"),
        audit=AuditBounds(recomputed_cells=4),
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> SourceTables:
    """The market as it is delivered."""
    return open_source(settings_at(tmp_path_factory.mktemp("unused"))).load()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tables: SourceTables) -> Delivery:
    """The same, read and cleaned."""
    return Delivery.of(settings_at(tmp_path_factory.mktemp("unused")), Delivered(tables))


def values(root: str, store: str) -> dict[str, np.ndarray]:
    with open_dataset(store, root) as data:
        return {str(name): data[name].values.copy() for name in data.variables}


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def with_price(source: Delivery, code: str, day: str, factor: float) -> Delivery:
    """The source with one close changed, as a vendor that corrects it without saying so."""
    prices = source.tables.prices.copy()
    at = (prices["vendor_code"] == code) & (prices["date"] == pd.Timestamp(day))
    assert at.sum() == 1
    for column in ("open", "high", "low", "close"):
        prices.loc[at, column] *= factor
    return Delivery(source.name, replace(source.tables, prices=prices))


def long_lived_code(source: Delivery) -> str:
    """The common stock with the most prices."""
    securities = source.tables.securities
    stocks = set(securities.loc[securities["type"] == "common", "vendor_code"])
    counts = source.tables.prices["vendor_code"].value_counts()
    return str(next(code for code in counts.index if code in stocks))


ROWS = 83
"""Sessions of a run of the backfill in pieces, which are no whole chunks here; there are 143."""


@pytest.fixture(scope="module")
def in_pieces(tmp_path_factory: pytest.TempPathFactory, source: Delivery) -> str:
    """Root of a backfill in one process, in two runs."""
    settings = settings_at(tmp_path_factory.mktemp("in_pieces"))
    outcomes = list(operations.backfill(settings, START, END, source=source, rows=ROWS))
    assert len(outcomes) == 2
    return settings.root


STAGED: Counter[str] = Counter()
"""How often the run of `at_once` wrote each chunk of a variable."""


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory, source: Delivery) -> Path:
    """Root of one run over the same sessions. Only read it."""
    settings = settings_at(tmp_path_factory.mktemp("at_once") / "root")
    inner = Overlay.stage

    def counted(overlay: Overlay, key: str, data: bytes) -> None:
        variable, _, chunk = key.rpartition("/")
        if "." in chunk[1:] and variable:  # two dimensions or more
            STAGED[f"{overlay.staged}/{key}"] += 1
        inner(overlay, key, data)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Overlay, "stage", counted)
        execution.execute(settings, START, END, source=source)
    return Path(settings.root)


def test_a_run_compresses_and_writes_each_chunk_once(at_once: Path) -> None:
    assert len(STAGED) > 60
    assert {key: times for key, times in STAGED.items() if times > 1} == {}


def test_the_runs_of_a_backfill_end_where_the_chunks_of_the_stores_do_wherever_it_was_interrupted(
    tmp_path: Path, source: Delivery
) -> None:
    days, begins = xnys().sessions, xnys().ordinal(START)
    whole = operations.chunked(settings_at(tmp_path), START, "2024-12-31")
    assert [xnys().ordinal(first) - begins for first, _ in whole] == [0, 504, 1008, 1512]
    assert [xnys().ordinal(last) + 1 - begins for _, last in whole[:-1]] == [504, 1008, 1512]
    execution.execute(settings_at(tmp_path), START, days[begins + 2], source=source)
    left = operations.chunked(settings_at(tmp_path), START, "2024-12-31")
    assert left == [(days[begins + 3], whole[0][1]), *whole[1:]]


def test_a_backfill_in_pieces_gives_the_bits_of_one_run(at_once: Path, in_pieces: str) -> None:
    for store in family.stores(settings_at(at_once)):
        assert_same(values(in_pieces, store), values(str(at_once), store))


@pytest.mark.slow
def test_an_interrupted_backfill_goes_on_after_the_last_published_run_to_the_bytes_of_one_that_was_not(
    tmp_path: Path, tables: SourceTables, in_pieces: str
) -> None:
    """Runs of one process share what was read and made of it; one that starts alone reads, cleans and builds anew."""
    settings = settings_at(tmp_path)
    runs = operations.backfill(settings, START, END, source=Delivered(tables), rows=ROWS)
    next(runs)
    runs.close()
    todo = operations.chunked(settings, START, END, ROWS)
    assert [xnys().ordinal(first) - xnys().ordinal(START) for first, _ in todo] == [ROWS]
    assert len(list(operations.backfill(settings, START, END, source=Delivered(tables), rows=ROWS))) == 1
    assert operations.chunked(settings, START, END, ROWS) == []
    assert chunks(in_pieces) == chunks(settings.root)


def test_a_master_that_lacks_rows_of_the_delivery_is_built_anew(tmp_path: Path, tables: SourceTables) -> None:
    """What was made for one root is not taken for another one's, whose master has seen less."""
    full, less = settings_at(tmp_path / "full"), settings_at(tmp_path / "less")
    mine = Delivery.of(full, Delivered(tables))
    execution.execute(full, FEW[0], FEW[1], until="ds_daily", source=mine)
    fewer = replace(tables, shares=tables.shares.iloc[:-5])
    execution.execute(less, FEW[0], FEW[1], until="ds_daily", source=Delivered(fewer))
    execution.execute(less, FEW[2], FEW[2], until="ds_daily", source=mine)

    def filings(root: str) -> int:
        with sqlite3.connect(Path(root) / "security_master.sqlite") as master:
            return int(master.execute("SELECT count(*) FROM shares_row").fetchone()[0])

    assert filings(less.root) == filings(full.root) > 5


def chunks(root: str) -> dict[str, str]:
    """Hash of every published file, but for those that say which run wrote them."""
    live = Path(root) / ".publications" / "current"
    files = [path for path in live.rglob("*") if path.is_file() and not path.name.startswith(".z")]
    own = ("manifest.json", "digests.json", ".spare", "publish_log", "security_master.sqlite")
    found = {str(path.relative_to(live)): path for path in files}
    assert len(found) > 100
    hashes = {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items() if not name.startswith(own)
    }
    with sqlite3.connect(live / "security_master.sqlite") as master:
        runs = [run for (run,) in master.execute("SELECT batch_id FROM load_batch ORDER BY seq")]
        dump = "\n".join(master.iterdump())
    for k, run in enumerate(runs):
        dump = dump.replace(run, f"batch {k}")
    return hashes | {"security_master": hashlib.sha256(dump.encode()).hexdigest()}


def test_a_backfill_before_the_first_published_session_and_a_hole_after_the_last_are_refused(
    tmp_path: Path, source: Delivery
) -> None:
    settings = settings_at(tmp_path)
    execution.execute(settings, FEW[0], FEW[1], source=source)
    with pytest.raises(family.RangeError, match="into a new root"):
        operations.chunked(settings, START, END)
    with pytest.raises(family.RangeError, match="run 2018-10-08 to 2018-10-09 before"):
        execution.execute(settings, "2018-10-10", "2018-10-12", source=source)


def test_missing_warm_up_is_explained(tmp_path: Path, source: Delivery) -> None:
    settings = settings_at(tmp_path)
    note = operations.warm_up_note(settings, "2018-01-10", source.tables)
    assert note is not None
    assert "2018-01-02" in note
    assert operations.warm_up_note(settings, START, source.tables) is None


@pytest.fixture(scope="module")
def restated(
    tmp_path_factory: pytest.TempPathFactory, source: Delivery, at_once: Path
) -> tuple[Settings, operations.Restatement]:
    """A root on which the close of one stock was corrected for one session and restated."""
    root = shutil.copytree(at_once, tmp_path_factory.mktemp("restated") / "root", symlinks=True)
    settings = settings_at(Path(root))
    changed = with_price(source, long_lived_code(source), "2018-10-17", 1.01)
    with pytest.raises(Exception, match="restatement"):
        execution.execute(settings, START, END, source=changed)
    return settings, operations.restate(settings, START, "vendor corrected a close", source=changed)


@pytest.mark.slow
def test_a_restatement_touches_exactly_the_windows_that_hold_the_change(
    restated: tuple[Settings, operations.Restatement],
) -> None:
    settings, done = restated
    assert (str(done.first), str(done.last)) == tuple(
        str(day) for day in operations.touched(settings, "2018-10-17", "2018-10-18")
    )
    returns = done.changes.set_index(["store", "variable"]).loc[("ds_daily", "return")]
    assert (returns["cells"], str(returns["first"])[:10], str(returns["last"])[:10]) == (2, "2018-10-17", "2018-10-18")
    betas = done.changes[done.changes["store"].str.startswith("ds_erm3_betas_SPY")]
    assert betas["first"].min() >= done.first
    held = xnys().ordinal("2018-10-18") + WINDOW - 1
    assert xnys().ordinal(str(betas["last"].max())[:10]) <= held, "windows of the model end before those of hedges"


def test_what_a_restatement_replaced_stays_openable(restated: tuple[Settings, operations.Restatement]) -> None:
    settings, done = restated
    publications = history(settings.root)
    assert list(publications["kind"]) == ["append", "restatement"]
    assert publications["reason"].iloc[-1] == "vendor corrected a close"
    before = open_dataset("ds_daily", settings.root, publication=done.publication.replaces)
    now = open_dataset("ds_daily", settings.root)
    differ = (before["return"] != now["return"]) & ~(before["return"].isnull() & now["return"].isnull())
    assert int(differ.sum()) == 2


def test_a_restatement_equals_a_root_built_from_the_corrected_source(
    tmp_path: Path, source: Delivery, restated: tuple[Settings, operations.Restatement]
) -> None:
    settings, _ = restated
    fresh = settings_at(tmp_path)
    execution.execute(fresh, START, END, source=with_price(source, long_lived_code(source), "2018-10-17", 1.01))
    for store in family.stores(fresh):
        assert_same(values(settings.root, store), values(fresh.root, store))


def test_a_restatement_without_differences_publishes_nothing(
    restated: tuple[Settings, operations.Restatement], source: Delivery
) -> None:
    settings, _ = restated
    again = operations.restate(
        settings, "2019-01-02", "nothing", source=with_price(source, long_lived_code(source), "2018-10-17", 1.01)
    )
    assert again.publication is None
    assert len(history(settings.root)) == 2


def test_a_restatement_needs_a_reason_and_published_sessions(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    with pytest.raises(ValueError, match="reason"):
        operations.restate(settings, START, "  ")
    with pytest.raises(family.RangeError, match="nothing is published"):
        operations.restate(settings, START, "because")


def test_touched_reaches_a_window_of_the_model_and_one_of_what_its_hedges_left(
    restated: tuple[Settings, operations.Restatement], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = restated
    calendar = xnys()
    assert str(operations.touched(settings, "2018-10-17", "2018-10-17")[1]) == END, "252 sessions after the window"
    monkeypatch.setattr(operations, "product_of", lambda spec: SimpleNamespace(reaches=5))
    first, last = operations.touched(settings, "2018-10-17", "2018-10-17")
    assert calendar.ordinal(last) - calendar.ordinal(first) == WINDOW - 1 + 5
