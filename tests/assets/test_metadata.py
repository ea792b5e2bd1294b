"""What the page of a materialisation shows."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import numpy as np
import pytest

from assets.definitions import build_definitions
from assets.deployment import Deployment
from assets.figures import by_session
from assets.metadata import Phases, location, of_asset, of_inputs
from assets.names import key_of
from pipeline.engine import execution, family
from pipeline.engine.family import specs
from pipeline.read import open_dataset
from security_master.questions import Question
from tests.assets.conftest import NEXT_NIGHT
from tests.engine.conftest import NIGHT
from tests.engine.published_market import FACTOR_SET, settings_for

BETAS = f"ds_erm3_betas_{FACTOR_SET}"
LARGEST_PLOT = 60_000


def values(nights, name: str, session: str) -> dict:
    return {key: value.value for key, value in nights.done.materialized(name)[session].metadata.items()}


def rows(nights, name: str, key: str) -> list[dict]:
    return [dict(r.data) for r in nights.done.materialized(name)[NEXT_NIGHT].metadata[key].records]


def test_the_last_session_of_a_run_says_what_the_run_did_to_each_store(nights):
    for name in family.stores(nights.settings):
        shown = values(nights, name, NEXT_NIGHT)
        assert (shown["sessions"], shown["first session"], shown["last session"]) == (2, NIGHT, NEXT_NIGHT)
        assert shown["bytes staged"] > 0
        assert shown["store"] == f"{nights.root}/{name}.zarr"
        assert {"seconds: compute and write", "seconds: audit", "code version", "staging run"} <= set(shown)
        errors = {row["check"]: row for row in rows(nights, name, "worst errors")}
        assert "axes_are_whole" in errors
        assert rows(nights, name, "made from")


def test_symbols_members_and_coverage_are_those_of_the_published_stores(nights):
    betas = open_dataset(BETAS, nights.root)
    masks = open_dataset("ds_masks", nights.root)
    for session in (NIGHT, NEXT_NIGHT):
        shown = values(nights, BETAS, session)
        member = (masks["uni_mc_3000"] & masks["validity"]).sel(teo=session)
        assert shown["valid members"] == int(member.sum())
        found = np.isfinite(betas["factor_beta"].sel(teo=session).values).sum(axis=0)
        for level, count in zip(("market", "sector", "subsector"), found, strict=True):
            assert shown[f"stocks with a {level} beta"] == count
            assert shown[f"coverage of {level}"] == pytest.approx(count / int(member.sum()))
    assert values(nights, BETAS, NEXT_NIGHT)["size of symbol"] == betas.sizes["symbol"]


def test_every_store_of_a_factor_set_says_which_share_of_the_universe_it_covers(nights):
    masks = open_dataset("ds_masks", nights.root)
    members = int((masks["uni_mc_3000"] & masks["validity"]).sel(teo=NIGHT).sum())
    has_value = {
        "betas": lambda ds: ds["factor_beta"].notnull().values,
        "betas_adjusted": lambda ds: ds["factor_beta"].notnull().values,
        "hedge_weights": lambda ds: np.stack([ds[f"L{k}_market_HR"].notnull() for k in (1, 2, 3)], axis=-1),
        "returns": lambda ds: ds["residual_return"].notnull().values[:, :3],
    }
    for dataset, of_stocks in has_value.items():
        name = f"ds_erm3_{dataset}_{FACTOR_SET}"
        found = of_stocks(open_dataset(name, nights.root).sel(teo=NIGHT)).sum(axis=0)
        shown = values(nights, name, NIGHT)
        assert shown["valid members"] == members
        covered = [shown[f"coverage of {level}"] for level in ("market", "sector", "subsector")]
        assert covered == pytest.approx(found / members), dataset
        assert all(0 < share <= 1 for share in covered)


def test_the_share_of_nan_is_shown_for_every_float_variable(nights):
    shown = {row["variable"]: row["share of NaN"] for row in rows(nights, "ds_daily", "share of NaN by variable")}
    daily = open_dataset("ds_daily", nights.root).sel(teo=slice(NIGHT, NEXT_NIGHT))
    assert shown.keys() == {name for name in daily.data_vars if daily[name].dtype.kind == "f"}
    assert shown["return"] == pytest.approx(float(daily["return"].isnull().mean()), abs=1e-4)


def test_plots_and_tables_stand_on_the_last_session_only(nights):
    last, first = values(nights, BETAS, NEXT_NIGHT), values(nights, BETAS, NIGHT)
    assert set(last) - set(first) >= {"worst errors", "coverage over the last year"}
    assert all(isinstance(value, float | int) for value in first.values()), "only numbers, for the trend lines"


def test_plots_are_small_pictures(nights):
    titles = []
    for name in family.stores(nights.settings):
        for title, text in values(nights, name, NEXT_NIGHT).items():
            if isinstance(text, str) and text.startswith("!["):
                picture = base64.b64decode(text.partition("base64,")[2].rstrip(")"))
                assert picture.startswith(b"\x89PNG")
                assert len(picture) < LARGEST_PLOT, (name, title)
                titles.append(title)
    assert titles == [
        "prices and returns over the last year",
        "universe over the last year",
        "coverage over the last year",
        "betas by level at the last session",
        "industries by dispersion at subsector level",
        "shrinkage before and after, at the last session",
        "mean shares of the variance over the last year",
        "residuals over the last year",
        "variance left by the hedges, over the 63 sessions before",
        "variance left above what was promised",
        "stocks with a rank by return, over the last year",
    ]


def test_the_inputs_say_what_was_delivered_and_what_became_of_it(nights):
    shown = values(nights, "source_tables", NEXT_NIGHT)
    assert {row["table"] for row in rows(nights, "source_tables", "tables")} >= {"prices", "securities", "splits"}
    assert shown["security master build"]
    assert shown["sessions"] == 2
    assert shown["bytes landed"] > 100_000
    assert shown["rows read"] == sum(row["rows"] for row in rows(nights, "source_tables", "tables"))


def test_open_questions_of_identity_are_counted_and_listed(nights):
    question = Question("Q1", "shared_figi", {}, ("S1", "S2"), "two lines have one FIGI", "2019-01-14T21:00:00Z")
    report = SimpleNamespace(build_id="b", minted=["S9"], unclassified=3, open_questions=[question] * 25)
    with execution.begin(nights.settings, NIGHT, NEXT_NIGHT) as run:
        shown = of_inputs(run, {"report": report, "origins": {}, "notices": [], "left_out": []}, Phases())
        run.stage.finish()
    assert shown["open questions of identity"] == 25
    listed = [dict(row.data) for row in shown["first open questions"].records]
    assert len(listed) == 20
    assert listed[0] == {
        "question": "Q1",
        "kind": "shared_figi",
        "detail": "two lines have one FIGI",
        "candidates": "S1, S2",
    }


def test_the_publication_says_what_readers_see_now(nights):
    shown = values(nights, "publication", NEXT_NIGHT)
    assert shown["complete through"] == NEXT_NIGHT
    assert (shown["sessions"], shown["first session"], shown["last session"]) == (2, NIGHT, NEXT_NIGHT)
    staged = [values(nights, name, NEXT_NIGHT)["bytes staged"] for name in family.stores(nights.settings)]
    assert shown["bytes staged"] == sum(staged) > 0
    assert shown["seconds: guards and switch"] > 0
    stores = {row["store"]: row for row in rows(nights, "publication", "stores")}
    assert stores.keys() == set(family.stores(nights.settings))
    assert stores["ds_daily"]["through, now"] == NEXT_NIGHT


def test_figures_do_not_depend_on_how_a_range_is_cut(nights):
    settings = nights.settings
    with execution.begin(settings, NIGHT, NEXT_NIGHT) as run:
        whole = by_session(run, BETAS)
        by_one = [by_session(run, BETAS, day, day) for day in (run.first, run.last)]
        run.stage.finish()
    for key, series in whole.items():
        np.testing.assert_array_equal(series, np.concatenate([part[key] for part in by_one]))


def test_the_table_schema_has_every_array_with_its_units():
    for name, spec in specs(settings_for("unused")).items():
        schema = of_asset(spec, "root")["dagster/column_schema"]
        assert [column.name for column in schema.columns] == [array.name for array in spec.arrays]
        for column, array in zip(schema.columns, spec.arrays, strict=True):
            unit = "" if array.dtype == "str" else f" [{array.units or '1'}]"
            assert column.description.lower().startswith(f"{array.long_name}{unit}.".lower()), (name, column.name)
            assert column.type == f"{array.dtype} ({', '.join(array.dims)})"


def test_a_store_in_a_bucket_links_to_the_bucket():
    assert location("gs://prices/erm3", "ds_daily.zarr").value.endswith("storage/browser/prices/erm3/ds_daily.zarr")
    assert location("data/erm3/", "ds_daily.zarr").value == "data/erm3/ds_daily.zarr"


def test_the_description_of_a_store_opens_it(nights):
    definitions = build_definitions(nights.settings, Deployment())
    (daily,) = [a for a in definitions.assets if a.key.to_user_string() == "ds_daily"]
    code = daily.specs_by_key[daily.key].description.partition("```python\n")[2].partition("\n```")[0]
    names: dict = {}
    exec(code.replace("open_dataset('", "ds = open_dataset('"), names)
    assert str(names["ds"].teo.values[-1])[:10] == NEXT_NIGHT


def test_every_asset_of_a_store_begins_with_the_stores_name_and_has_it_as_a_tag():
    settings = settings_for("unused")
    graph = build_definitions(settings, Deployment()).resolve_asset_graph()
    for name, spec in specs(settings).items():
        node = graph.get(key_of(spec))
        assert node.description.startswith(f"**{name}**: "), name
        assert node.tags["store"] == name
