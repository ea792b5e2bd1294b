"""A store that is declared in one file is computed, audited, published, verified, and shown by Dagster."""

from __future__ import annotations

import dagster as dg
import numpy as np
import pytest

from assets import metadata
from assets.definitions import build_definitions
from assets.partitions import range_tags
from assets.plots import plots
from pipeline.datasets.contract import contract_files
from pipeline.engine import execution, products, verify
from pipeline.read import open_dataset
from tests.assets.conftest import IMPATIENT
from tests.engine import toy_store
from tests.engine.faults import tampered
from tests.engine.published_market import FIRST, Delivered, settings_for

LAST = "2018-12-06"
NAME, OWN_CHECK = "ds_turnover", "turnover_recomputed"
EVERY_CHECK = {"axes_are_whole", "no_variable_is_empty", OWN_CHECK}


@pytest.fixture(autouse=True)
def registered(monkeypatch) -> None:
    """The one line that a newcomer adds to the register."""
    monkeypatch.setattr(products, "PRODUCTS", (*products.PRODUCTS, toy_store.PRODUCT))


def test_a_store_of_one_file_is_staged_audited_published_verified_and_shown(tables, tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "plots", lambda run, name: plots(run, name) if name == NAME else {})
    settings, key = settings_for(tmp_path / "root"), dg.AssetKey(NAME)
    definitions = build_definitions(settings, IMPATIENT, Delivered(tables))
    with dg.DagsterInstance.ephemeral() as instance:
        done = definitions.resolve_job_def("nightly").execute_in_process(
            instance=instance, tags=range_tags(FIRST, LAST)
        )
        assert done.success
        checks = {c.check_name: c for c in done.get_asset_check_evaluations() if c.asset_key == key}
        assert set(checks) == EVERY_CHECK
        assert all(check.passed for check in checks.values())
        shown = instance.fetch_materializations(key, limit=1).records[0].asset_materialization.metadata
    assert shown["mean turnover"].value > 0
    assert "data:image/png" in shown["turnover over the last year"].value

    with open_dataset(NAME, settings.root) as found, open_dataset("ds_daily", settings.root) as daily:
        assert found.attrs["title"] == "Turnover"
        np.testing.assert_array_equal(found["turnover"].values, daily["close"].values * daily["volume"].values)
    verified = [check for check in verify.verify(settings) if check.store == NAME]
    assert {check.name for check in verified} == EVERY_CHECK
    assert all(check.passed for check in verified)


def test_its_own_check_stops_a_wrong_step(tables, tmp_path, monkeypatch):
    tampered(NAME, "turnover", lambda values: values * 2)(monkeypatch)
    with pytest.raises(execution.AuditFailed) as failed:
        execution.execute(settings_for(tmp_path / "root"), FIRST, LAST, until=NAME, source=Delivered(tables))
    assert [check.name for check in failed.value.checks] == [OWN_CHECK]


def test_its_asset_is_declared_with_its_inputs_and_checks_and_its_contract_is_rendered(tmp_path):
    graph = build_definitions(settings_for(tmp_path)).resolve_asset_graph()
    assert graph.get(dg.AssetKey(NAME)).parent_keys == {dg.AssetKey("source_tables"), dg.AssetKey("ds_daily")}
    assert {key.name for key in graph.asset_check_keys if key.asset_key == dg.AssetKey(NAME)} == EVERY_CHECK
    assert f"{NAME}.json" in contract_files(products.catalog().values())


def test_a_store_that_nobody_declared_is_an_error_that_says_what_to_do(monkeypatch):
    spec = products.catalog()[NAME]
    monkeypatch.undo()
    with pytest.raises(LookupError, match=r"ds_turnover is no product; there are ds_daily, .*Add it to PRODUCTS"):
        products.product_of(spec)
