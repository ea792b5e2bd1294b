"""Reports on what is published: right by a second path, on one partition, and unable to hurt a publication."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from assets import reports
from assets.definitions import build_definitions
from assets.plots import coverage_by_year, markdown, quarantine_calendar
from assets.tables import table_of
from pipeline.calendar import xnys
from pipeline.quality.findings import RULES, findings_frame, no_findings
from pipeline.read import open_dataset, published_master, read_manifest
from pipeline.reports.quality_report import SHADES, calendar
from pipeline.sources import SourceTables
from pipeline.store.stage import Stage
from security_master import MASTER_FILE
from tests.assets.conftest import IMPATIENT, NEXT_NIGHT, Done, decoded, launching
from tests.engine.conftest import NIGHT
from tests.engine.published_market import Delivered, known_at, seen_by_readers, settings_for

REPORTS = ("security_coverage", "quality", "hedge_effectiveness")
PLOT_OF = {
    "security_coverage": "securities by year",
    "quality": "calendar of quarantined cells",
    "hedge_effectiveness": "variance left by the hedges, by month",
}


def metadata(done, name: str, session: str) -> dict:
    return done.materialized(name)[session].metadata


def rows(value: dg.TableMetadataValue) -> list[dict]:
    return [dict(record.data) for record in value.records]


# --- coverage ---------------------------------------------------------------------------------------------------


def test_the_coverage_by_year_is_that_of_the_tables_themselves(nights):
    shown = metadata(nights.done, "security_coverage", NEXT_NIGHT)
    by_year = {row["year"]: row for row in rows(shown["by year"])}
    assert by_year.keys() == {2018, 2019}
    daily = open_dataset("ds_daily", nights.root)
    priced = daily["close"].notnull().groupby("teo.year").any("teo").sum("symbol")
    with sqlite3.connect(nights.root / MASTER_FILE) as database:
        for year, row in by_year.items():
            span = (f"{year + 1}-01-01", f"{year}-01-01")
            known = "SELECT sec_id FROM listing WHERE sec_type IN ('common', 'adr', 'reit') AND known_to > '9' "
            listed = f"{known} AND valid_from < ? AND valid_to > ?"
            classified = (
                "SELECT sec_id FROM classification_hist WHERE scheme = 'fs' AND code <> '0' AND known_to > '9' "
                f"AND valid_from < ? AND valid_to > ? AND sec_id IN ({listed})"
            )
            count = {
                "known": database.execute(f"SELECT count(DISTINCT sec_id) FROM ({listed})", span),
                "classified": database.execute(f"SELECT count(DISTINCT sec_id) FROM ({classified})", 2 * span),
            }
            assert {key: row[key] for key in count} == {key: found.fetchone()[0] for key, found in count.items()}
            assert row["priced"] == int(priced.sel(year=year)) > 50
    assert shown["priced, last year"].value == by_year[2019]["priced"]
    assert shown["years"].value == 2


def test_the_coverage_plot_shows_what_is_missing():
    years = pd.DataFrame(
        {"year": [2006, 2007], "known": [80, 100], "priced": [80, 90], "classified": [79, 99], "with_shares": [70, 95]}
        | {"expected": [100, 100], "missing_share": [0.2, 0.0], "survivors_bias": [0.01, np.nan]}
    )
    counts, shares = coverage_by_year(years).axes
    lines = {str(line.get_label()): line.get_ydata() for line in counts.lines}
    assert {name: list(values) for name, values in lines.items()} == {
        name: list(years[name]) for name in ("known", "priced", "classified", "with_shares", "expected")
    }
    missing, bias = ([bar.get_height() for bar in bars] for bars in shares.containers)
    assert missing == [20.0, 0.0]
    assert bias[0] == 1.0


# --- quality ----------------------------------------------------------------------------------------------------


def misprinted(tables: SourceTables) -> tuple[str, SourceTables]:
    """The vendor's code of a stock, and the market in which its close of NIGHT is a hundred times what it was."""
    prices = tables.prices.copy()
    of_night = prices["date"] == np.datetime64(NIGHT)
    stocks = set(tables.securities.query("type == 'common'")["vendor_code"])
    code = sorted(set(prices.loc[of_night, "vendor_code"]) & stocks)[0]
    wrong = of_night & (prices["vendor_code"] == code)
    prices.loc[wrong, ["open", "high", "low", "close"]] *= 100
    return code, replace(tables, prices=prices)


@dataclass(frozen=True)
class BadNight:
    """A night with one misprint, of the stock `code`, whose report of coverage fails. Only look at it."""

    code: str
    root: Path
    done: Done


@pytest.fixture(scope="module")
def bad_night(published_eve, tables, tmp_path_factory) -> BadNight:
    def broken(root: str):
        raise MemoryError("no room for twenty years of closes")

    root = Path(shutil.copytree(published_eve, tmp_path_factory.mktemp("bad") / "root", symlinks=True))
    code, market = misprinted(tables)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        launching(instance) as launch,
        pytest.MonkeyPatch.context() as planted,
    ):
        planted.setattr(reports, "coverage_report", broken)
        return BadNight(code, root, launch(settings_for(root), known_at(market, NIGHT), NIGHT))


@pytest.mark.slow
def test_a_misprint_is_counted_shown_among_the_worst_and_coloured_in_the_calendar(bad_night):
    done = bad_night.done
    assert done.success
    shown = metadata(done, "quality", NIGHT)
    with published_master(str(bad_night.root)) as master:
        sec_id = master.roster().set_index("vendor_code").loc[bad_night.code, "sec_id"]
    findings = pd.read_parquet(bad_night.root / "quality_findings.parquet")
    counts = {row["rule"]: row for row in rows(shown["counts by rule"])}
    assert {rule: row["findings"] for rule, row in counts.items()} == findings["rule"].value_counts().to_dict()
    assert counts["bad_print"]["meaning"] == RULES["bad_print"].meaning
    worst = rows(shown["the 20 worst"])[0]
    assert (worst["rule"], worst["session"], worst["outcome"]) == ("bad_print", NIGHT, "quarantine")
    assert worst["sec_id"] == sec_id
    assert shown["quarantined cells"].value == shown["quarantined cells in all"].value == 1
    assert shown["new findings"].value == (findings["detected_at"] == xnys().ordinal(NIGHT)).sum()
    assert shades_in(decoded(shown[PLOT_OF["quality"]])) == {0, 1}
    assert "erm3 quality report --root" in shown["full report"].value


def shades_in(picture: np.ndarray, pixels: int = 20) -> set[int]:
    """Shades of the calendar that a picture has, below the line of its legend."""
    body = picture[30:, :, :3]
    return {k for k, shade in enumerate(SHADES) if (np.abs(body - to_rgb(shade)).max(axis=-1) < 0.01).sum() > pixels}


def test_the_calendar_has_a_square_for_each_session_and_is_darker_where_more_is_withheld():
    days, first = xnys().sessions, xnys().ordinal("2018-01-02")
    at = first + np.repeat([0, 5, 300], [1, 2, 16])
    findings = findings_frame(
        sec_id=[f"S{k}" for k in range(len(at))], session=at, rule="bad_print", observed=2.0, expected=1.0,
        evidence="planted", detected_at=at,
    )  # fmt: skip
    cells = calendar(findings, days, first, first + 400)
    assert len(cells) == 401
    assert cells["weekday"].tolist() == pd.DatetimeIndex(cells["day"]).day_of_week.tolist()
    assert cells.set_index("day").loc["2018-01-09", "cells"] == 2
    assert cells["shade"].value_counts().to_dict() == {0: 398, 1: 1, 2: 1, 5: 1}
    assert shades_in(decoded(markdown("calendar", quarantine_calendar(cells)))) == {0, 1, 2, 5}
    (image,) = quarantine_calendar(cells).axes[0].images
    assert np.isfinite(image.get_array().filled(np.nan)).sum() == 401


def test_only_the_twenty_worst_are_listed_and_quarantined_ones_come_first(nights, monkeypatch):
    at = xnys().ordinal(NIGHT) - np.arange(60) % 7
    rule = np.where(np.arange(60) < 15, "bad_print", "extreme_return")
    findings = findings_frame(
        sec_id=[f"S{k:02}" for k in range(60)], session=at, rule=list(rule), observed=np.arange(60.0) + 1,
        expected=1.0, evidence="planted", detected_at=at,
    )  # fmt: skip
    monkeypatch.setattr(reports, "published_findings", lambda root: (findings, {"S14": "XYZ"}))
    shown = reports.quality(nights.settings, at[0], at[0]).shown
    worst = rows(shown["the 20 worst"])
    assert [row["sec_id"] for row in worst] == [f"S{k:02}" for k in (*range(14, -1, -1), 59, 58, 57, 56, 55)]
    assert worst[0]["ticker"] == "XYZ"
    assert {row["rule"]: row["findings"] for row in rows(shown["counts by rule"])} == {
        "bad_print": 15,
        "extreme_return": 45,
    }


def test_a_root_without_findings_has_a_report_too(nights, monkeypatch):
    monkeypatch.setattr(reports, "published_findings", lambda root: (no_findings(), {}))
    session = xnys().ordinal(NIGHT)
    made = reports.quality(nights.settings, session, session)
    assert made.shown["findings"] == 0
    assert rows(made.shown["the 20 worst"]) == rows(made.shown["counts by rule"]) == []
    assert made.by_session["quarantined cells"].tolist() == [0]
    assert shades_in(decoded(made.shown[PLOT_OF["quality"]])) == {0}


# --- both -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_stands_on_the_last_session_of_the_run_only(nights, name):
    materialized = nights.done.materialized(name)
    assert list(materialized) == [NIGHT, NEXT_NIGHT]
    other = {type(value) for value in materialized[NIGHT].metadata.values()}
    assert not other & {dg.TableMetadataValue, dg.MarkdownMetadataValue}
    picture = decoded(materialized[NEXT_NIGHT].metadata[PLOT_OF[name]])
    height, width, _ = picture.shape
    assert width > 400
    assert height > 80
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 10, "more than an empty frame"


def test_what_is_missing_in_a_table_stays_empty():
    shown = table_of(pd.DataFrame({"year": [2006, 2007], "bias": [np.nan, 0.5], "what": ["a", None]}))
    assert rows(shown) == [{"year": 2006, "bias": None, "what": "a"}, {"year": 2007, "bias": 0.5, "what": None}]
    assert [column.type for column in shown.schema.columns] == ["int", "float", "string"]


def test_reports_come_after_the_publication_and_no_store_waits_for_them():
    graph = build_definitions(settings_for("unused"), IMPATIENT).resolve_asset_graph()
    for name in REPORTS:
        node = graph.get(dg.AssetKey(name))
        assert node.parent_keys == {dg.AssetKey("publication")}
        assert not node.child_keys
        assert not node.pools, "a report alone does not wait for a writer, and none waits for it"


@pytest.mark.slow
def test_a_report_that_fails_leaves_the_publication_and_the_other_report_alone(bad_night):
    done = bad_night.done
    assert done.success
    assert read_manifest(bad_night.root)["complete_through"] == NIGHT
    assert metadata(done, "publication", NIGHT)["complete through"].value == NIGHT
    check = done.checks()["security_coverage", "was_made"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.description == "MemoryError: no room for twenty years of closes"
    assert metadata(done, "security_coverage", NIGHT)["not made"].value == check.description
    assert done.checks()["quality", "was_made"].passed
    assert PLOT_OF["quality"] in metadata(done, "quality", NIGHT)


def damage_findings(root: Path) -> None:
    (root / "quality_findings.parquet").write_bytes(b"PAR1 was here")


def damage_master(root: Path) -> None:
    (root / MASTER_FILE).write_bytes(b"not a database")


@pytest.mark.parametrize(("name", "damage"), [("security_coverage", damage_master), ("quality", damage_findings)])
def test_reports_alone_change_nothing_even_when_what_they_read_is_damaged(
    name, damage, nights, tables, launch, tmp_path
):
    root = Path(shutil.copytree(nights.root, tmp_path / "root", symlinks=True))
    damage(root)
    before = seen_by_readers(root)
    done = launch(settings_for(root), Delivered(tables), NEXT_NIGHT, selection=[name])
    assert done.success
    assert not done.checks()[name, "was_made"].passed
    assert "not made" in metadata(done, name, NEXT_NIGHT)
    assert seen_by_readers(root) == before


def test_a_report_can_be_made_while_another_run_writes(nights, tables, launch, tmp_path):
    root = Path(shutil.copytree(nights.root, tmp_path / "root", symlinks=True))
    with Stage.begin(root, "by-hand"):
        done = launch(settings_for(root), Delivered(tables), NEXT_NIGHT, selection=list(REPORTS))
        assert done.success
        assert all(done.checks()[name, "was_made"].passed for name in REPORTS)
    assert metadata(done, "quality", NEXT_NIGHT)["findings"] == metadata(nights.done, "quality", NEXT_NIGHT)["findings"]
