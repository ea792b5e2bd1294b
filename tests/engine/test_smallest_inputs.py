"""What was never delivered makes less output and no failure; what was there before must not become empty."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.engine import execution
from pipeline.engine.execution import AuditFailed
from pipeline.engine.verify import verify
from pipeline.read import open_dataset
from pipeline.settings import Settings, SimulatedMarket
from pipeline.sources import SourceTables
from pipeline.sources.tables import Notice
from tests.engine.faults import tampered
from tests.engine.published_market import AUDIT, FACTOR_SET, MODEL, Delivered, settings_for, tables_of

SMALL = SimulatedMarket(stocks=6, first_session="2018-01-02", last_session="2018-07-31")
DOCUMENT = Path(__file__).parents[2] / "docs" / "sources.md"


def without(*names: str) -> SourceTables:
    tables = tables_of(SMALL)
    frames = {name: getattr(tables, name).iloc[:0] for name in names}
    return replace(tables, **frames, origins={k: v for k, v in tables.origins.items() if k not in names})


def published(root: Path, tables: SourceTables, first: str, last: str) -> Settings:
    settings = settings_for(root, simulated=SMALL)
    execution.execute(settings, first, last, source=Delivered(tables))
    return settings


def failed(settings: Settings) -> list[str]:
    return [f"{check.store} {check.name}" for check in verify(settings) if not check.passed]


def count(root: Path, store: str, var: str) -> int:
    with open_dataset(store, str(root)) as dataset:
        return int(np.isfinite(dataset[var].values).sum())


def shown_directories() -> list[dict[str, str]]:
    """Each directory of the document as texts by file name: blocks whose first line names files in columns."""
    found = []
    for block in re.findall(r"```\n((?:\w+\.csv *)+\n.*?)```", DOCUMENT.read_text(), re.S):
        head, *lines = block.splitlines()
        at = [(match.group(), match.start()) for match in re.finditer(r"\S+\.csv", head)]
        edges = [start for _, start in at] + [1000]
        columns = [(name, first, last) for (name, first), last in zip(at, edges[1:], strict=True)]
        found.append({name: "\n".join(line[a:b].strip() for line in lines) + "\n" for name, a, b in columns})
    return found


@pytest.mark.parametrize("files", shown_directories() or [{}])
def test_every_directory_that_the_document_shows_runs(files, tmp_path):
    assert {"securities.csv", "prices.csv"} <= set(files)
    for name, text in files.items():
        tmp_path.joinpath(name).write_text(text)
    day = pd.read_csv(tmp_path / "prices.csv")["date"].max()
    settings = Settings(root=str(tmp_path / "out"), source="files", source_path=str(tmp_path), audit=AUDIT)
    execution.execute(settings, day, day)
    assert count(tmp_path / "out", "ds_daily", "close") == 1
    assert not failed(settings)
    with open_dataset("ds_daily", settings.root) as daily:
        assert daily.attrs["not_delivered"] == "classification, shares"


def test_without_share_counts_there_is_no_universe_and_the_run_goes_through(tmp_path):
    settings = published(tmp_path, without("shares"), "2018-07-25", "2018-07-31")
    assert count(tmp_path, "ds_daily", "return") > 20
    assert count(tmp_path, "ds_daily", "market_cap") == 0
    assert not failed(settings)


def test_without_classification_there_are_market_betas_only(tmp_path):
    settings = published(tmp_path, without("classification"), "2018-07-27", "2018-07-30")
    assert count(tmp_path, f"ds_erm3_hedge_weights_{FACTOR_SET}", "L1_market_HR") > 4
    assert count(tmp_path, f"ds_erm3_hedge_weights_{FACTOR_SET}", "L2_sector_HR") == 0
    assert not failed(settings)
    execution.execute(settings, "2018-07-31", "2018-07-31", source=Delivered(tables_of(SMALL)))  # they come later


def test_a_start_before_any_window_is_long_enough_gives_returns_and_no_betas(tmp_path):
    assert MODEL.min_obs > 60
    settings = published(tmp_path, tables_of(SMALL), "2018-03-01", "2018-03-02")
    assert count(tmp_path, "ds_daily", "market_cap") > 4
    assert count(tmp_path, f"ds_erm3_hedge_weights_{FACTOR_SET}", "L1_market_HR") == 0
    assert not failed(settings)


def test_a_run_ends_with_what_it_left_out_and_what_would_help(tmp_path):
    tables = tables_of(SMALL)
    factor_etfs = set(tables.factor_etfs.loc[tables.factor_etfs["role"] == "subsector", "etf"])
    codes = tables.securities.loc[tables.securities["ticker"].isin(factor_etfs), "vendor_code"].astype(str)
    kept = {
        name: frame[~frame["vendor_code"].isin(codes)].reset_index(drop=True)
        for name, frame in tables.frames.items()
        if "vendor_code" in frame
    }
    unclassified = kept["classification"]["vendor_code"] == kept["classification"]["vendor_code"].iloc[0]
    kept["classification"] = kept["classification"][~unclassified].reset_index(drop=True)
    notices = (Notice("prices.csv", "exact duplicates, counted once", 3, 7),)
    source = Delivered(replace(tables, **kept, notices=notices))
    settings = settings_for(tmp_path, simulated=SMALL)
    outcome = execution.execute(settings, "2018-07-31", "2018-07-31", until="ds_daily", source=source)
    said = "\n".join(outcome.findings.left_out)
    assert "prices.csv: exact duplicates, counted once: 3 rows, the first is row 7" in said
    assert re.search(r"1 of \d stocks are not classified, so without L2 and L3: give them an industry", said)
    assert re.search(r"\d of \d stocks have no L3: \w+.* (is|are) not delivered \(for example", said)
    assert "market cap" not in said


def test_a_variable_that_had_values_must_not_become_empty_when_its_table_is_gone(tmp_path, monkeypatch):
    settings = published(tmp_path, tables_of(SMALL), "2018-07-27", "2018-07-30")
    tampered("ds_daily", "market_cap", lambda cap: cap * np.nan)(monkeypatch)
    monkeypatch.setattr(execution, "not_delivered", lambda tables, shapes: ["shares"])
    with pytest.raises(AuditFailed, match=r"market_cap.*made from.*shares"):
        execution.execute(settings, "2018-07-31", "2018-07-31", source=Delivered(tables_of(SMALL)))
