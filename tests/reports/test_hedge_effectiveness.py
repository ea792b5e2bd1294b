"""Whether hedges work, as told to people: by a second path, and a month that leaves its own history is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pipeline.datasets import LEVELS
from pipeline.datasets.return_flags import ReturnFlag
from pipeline.reports import hedge_effectiveness as report
from tests.engine.conftest import published_eve, tables, whole  # noqa: F401 (fixtures)
from tests.engine.published_market import FACTOR_SET


@pytest.fixture(scope="module")
def published(whole: Path) -> report.Published:  # noqa: F811
    return report.Published.of(str(whole), FACTOR_SET)


def test_the_share_left_in_a_year_is_the_median_over_stocks_of_their_own(published):
    row = report.by_year(published).set_index("year").loc[2019]
    at = published.teo >= np.datetime64("2019-01-01")
    for k, level in enumerate(LEVELS):
        found = []
        for r, h in zip(published.returns[at].T, published.hedged[at][..., k].T, strict=True):
            have = np.isfinite(r) & np.isfinite(h)
            if have.sum() >= 20 and r[have].var() > 0:
                found.append(h[have].var() / r[have].var())
        assert row[f"names_{level}"] == len(found) > 5
        assert row[f"left_{level}"] == pytest.approx(np.median(found))


def test_every_valid_member_is_counted_once_at_each_level(published):
    names = report.level_names(published)
    masks = published.family.dataset("ds_masks", as_of_manifest=True)
    member = (masks["uni_mc_3000"] & masks["validity"]).sum("symbol")
    for year, rows in names.groupby("year"):
        members = int(member.sel(teo=str(year)).values[-1])
        assert rows.groupby("level")["names"].sum().to_dict() == dict.fromkeys(("L1", "L2", "L3"), members)
    assert (names["reason"] == "has values").any()


def test_the_worst_stocks_come_first_and_have_a_reason(published):
    worst = report.worst(published)
    assert len(worst) == report.WORST
    assert worst["left"].is_monotonic_decreasing
    assert worst["reason"].str.len().min() > 0


def test_reasons_name_an_event_thin_data_and_an_etf_that_adds_variance():
    r = np.full((63, 4), 0.01) * np.where(np.arange(63) % 2, 1, -1)[:, None]
    r[40, 0], r[:20, 1] = 0.4, np.nan
    flags = np.where(np.isfinite(r), ReturnFlag.ORDINARY, ReturnFlag.NO_PRICE)
    given = SimpleNamespace(
        returns=r,
        teo=np.arange("2020-01-01", "2020-03-04", dtype="datetime64[D]"),
        _read=lambda *_: flags,
        last=lambda *_: np.full((4, 3), 252),
    )
    share = np.array([[1.0, 0.9, 0.8], [1.0, 0.9, 0.8], [0.7, 0.9, 1.2], [1.0, 0.9, 0.8]])
    said = report._reasons(given, [0, 1, 2, 3], share, np.full(4, 3))
    assert said[0] == "event: +40.0% on 2020-02-10"
    assert said[1] == "thin data: 252 returns in the window, 20 missing and 0 zero of 63"
    assert said[2] == "assignment: the subsector ETF adds variance (0.90 without it)"
    assert said[3] == "none that can be named"


def months(last: float) -> pd.DataFrame:
    left = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50, 0.53, 0.47, 0.50, 0.52, 0.49, 0.50, last]
    names = [f"2020-{k:02d}" for k in range(1, 13)] + ["2021-01"]
    return pd.DataFrame({"month": names, "cohort": "universe", "level": "market", "names": 50, "left": left})


def test_a_month_that_leaves_its_own_history_is_told():
    assert report.left_their_history(months(0.55)).empty
    told = report.left_their_history(months(0.75))
    assert told[["cohort", "level", "month", "usual"]].values.tolist() == [["universe", "market", "2021-01", 0.5]]
    assert report.left_their_history(months(0.2)).empty, "less than usual is no reason to look"
    assert report.left_their_history(months(0.75).iloc[4:]).empty, "a history of few months is none"
