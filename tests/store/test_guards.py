"""Each promise made to readers is broken once, and the publication refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.metadata import to_json
from pipeline.store.checked import WrongShape
from pipeline.store.chunks import ChunkedArray
from pipeline.store.guards import GuardFailed
from pipeline.store.stage import NotAudited, Stage
from tests.store.family import (
    FAMILY,
    PRICES,
    audit_all,
    clock,
    expected,
    live_bytes,
    promote_family,
    publish,
    sessions,
    stage_family,
    stage_store,
    symbols,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish(tmp_path, "first", 6, symbols(4))
    return tmp_path


def refused(root: Path, stage: Stage, problem: str) -> None:
    """The run is refused for this reason, and every store is as it was."""
    before = live_bytes(root)
    audit_all(stage)
    with pytest.raises(GuardFailed, match=problem):
        promote_family(stage)
    assert live_bytes(root) == before
    assert stage.staged_stores


def edit_metadata(stage: Stage, key: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes a staged metadata document, alone and consolidated."""
    overlay = stage.overlay("ds_prices")
    document = json.loads(overlay.get(".zmetadata") or b"")
    change(document["metadata"][key])
    overlay.put(key, to_json(document["metadata"][key]))
    overlay.put(".zmetadata", to_json(document))


def stored(stage: Stage, name: str) -> ChunkedArray:
    return ChunkedArray.stored(name, json.loads(stage.overlay("ds_prices").get(".zmetadata") or b"")["metadata"])


def put_coordinate(stage: Stage, name: str, values: np.ndarray) -> None:
    array = stored(stage, name)
    chunk = array.empty()
    chunk[: len(values)] = values
    stage.overlay("ds_prices").put(f"{name}/0", array.encode(chunk) or b"")


def test_an_ordinary_night_passes(root: Path) -> None:
    record = publish(root, "second", 7, symbols(5))
    assert record is not None
    assert record.stores["ds_prices"]["last_before"] == str(sessions(6)[-1])
    assert record.complete_through == str(sessions(7)[-1])


def test_a_changed_cell_of_a_published_session_is_refused_and_named(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        store = stage_store(stage, PRICES, 7, symbols(4))
        store.write("return", slice(2, 3), slice(1, 2), [[0.25]])
        store.close()
        refused(root, stage, f"1 published cells of return would change .{sessions(3)[-1]} at symbol 1: .* -> 0.25")


@pytest.mark.parametrize(("var", "value"), [("flag", np.int16(1)), ("return", np.float32(np.nan))])
def test_a_lost_value_and_a_changed_code_are_refused(root: Path, var: str, value: Any) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        store = stage_store(stage, PRICES, 7, symbols(4))
        old = store.read(var, slice(0, 6))
        row, col = np.argwhere(~(old == value) & (old == old))[0]
        store.write(var, slice(row, row + 1), slice(col, col + 1), [[value]])
        store.close()
        refused(root, stage, f"1 published cells of {var}")


def test_history_of_a_new_symbol_in_published_sessions_needs_a_restatement(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        store = stage_store(stage, PRICES, 7, symbols(5))
        store.write("return", slice(5, 6), slice(4, 5), [[0.25]])
        store.close()
        refused(root, stage, "published cells of return .*nan -> 0.25")


def test_a_restatement_changes_its_own_sessions_and_no_others(root: Path) -> None:
    info = {"from": str(sessions(4)[3]), "to": str(sessions(6)[5]), "reason": "late split"}
    for row, problem in ((2, "1 published cells"), (3, None)):
        with Stage.begin(root, f"restate{row}", "restatement", info, clock=clock) as stage:
            stage_store(stage, PRICES, 6, symbols(4))
            store = stage.create_or_open(PRICES)
            store.write("return", slice(row, row + 1), slice(0, 1), [[0.125]])
            store.close()
            if problem:
                refused(root, stage, problem)
                stage.abandon("refused")
            else:
                audit_all(stage)
                assert promote_family(stage) is not None


def test_a_shortened_symbol_axis_is_refused(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        stage_store(stage, PRICES, 7, symbols(4))
        for key in ("symbol", "ticker"):
            edit_metadata(stage, f"{key}/.zarray", lambda d: d.update(shape=[3]))
        for key in ("return", "flag"):
            edit_metadata(stage, f"{key}/.zarray", lambda d: d.update(shape=[7, 3]))
        refused(root, stage, "retraction: symbol has 4 values and would have 3")


def test_a_lost_last_session_is_refused(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        stage_store(stage, PRICES, 7, symbols(4))
        edit_metadata(stage, "teo/.zarray", lambda d: d.update(shape=[5]))
        for key in ("return", "flag"):
            edit_metadata(stage, f"{key}/.zarray", lambda d: d.update(shape=[5, 4]))
        refused(root, stage, "retraction: teo has 6 values and would have 5")


def test_a_renamed_or_reordered_symbol_is_refused(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        stage_store(stage, PRICES, 7, symbols(4))
        put_coordinate(stage, "symbol", np.array(["S0001", "S0000", "S0002", "S0003"], object))
        refused(root, stage, "retraction: value 0 of symbol was 'S0000' and would be 'S0001'")


def test_a_skipped_session_is_refused(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        store = stage.create_or_open(PRICES)
        store.extend(teo=sessions(8)[[7]])
        store.close()
        refused(root, stage, f"teo skips: {sessions(7)[6]}")


def test_a_closed_day_is_refused(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        store = stage.create_or_open(PRICES)
        store.extend(teo=["2023-01-11", "2023-01-12", "2023-01-13", "2023-01-14"])
        store.close()
        refused(root, stage, "teo has closed days: 2023-01-14")


@pytest.mark.parametrize(
    ("key", "change", "problem"),
    [
        ("return/.zarray", {"dtype": "<f8"}, "dtype of return/.zarray was '<f4'"),
        ("return/.zarray", {"chunks": [1, 256]}, "chunks of return/.zarray"),
        ("flag/.zarray", {"fill_value": 0}, "fill_value of flag/.zarray"),
        ("return/.zattrs", {"units": "percent"}, "units of return/.zattrs was '1'"),
        ("return/.zattrs", {"_ARRAY_DIMENSIONS": ["symbol", "teo"]}, "_ARRAY_DIMENSIONS of return/.zattrs"),
        ("teo/.zattrs", {"units": "days"}, "units of teo/.zattrs"),
        ("flag/.zattrs", {"flag_meanings": "one none"}, "flag_meanings of flag/.zattrs no longer starts"),
        (".zattrs", {"window": 126}, "window of .zattrs was 252 and would be 126; a parameter changes only"),
    ],
)
def test_a_change_of_the_contract_is_refused(root: Path, key: str, change: dict[str, Any], problem: str) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        stage_store(stage, PRICES, 7, symbols(4))
        edit_metadata(stage, key, lambda d: d.update(change))
        refused(root, stage, problem)


def test_stale_consolidated_metadata_is_refused(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        stage_store(stage, PRICES, 7, symbols(4))
        stage.overlay("ds_prices").put("return/.zarray", b"{}")
        refused(root, stage, ".zmetadata and return/.zarray differ")


def test_arrays_of_different_length_are_refused(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        stage_store(stage, PRICES, 7, symbols(4))
        edit_metadata(stage, "return/.zarray", lambda d: d.update(shape=[6, 4]))
        refused(root, stage, r"return has shape \(6, 4\), its axes \[7, 4\]")


def test_a_chunk_outside_the_grid_is_refused(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        stage_store(stage, PRICES, 7, symbols(4))
        stage.overlay("ds_prices").put("return/5.0", b"x")
        refused(root, stage, "return/5.0 belongs to no chunk")


def test_a_staged_chunk_that_cannot_be_read_is_refused(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        stage_store(stage, PRICES, 7, symbols(4))
        stage.overlay("ds_prices").stage("return/0.0", b"not a chunk at all")
        refused(root, stage, r"return/0\.0 cannot be read: a chunk of return is damaged")


def test_chunks_that_were_written_and_not_closed_are_refused(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        store = stage.create_or_open(PRICES)
        store.extend(teo=sessions(7)[6:])
        store.write("return", slice(6, 7), slice(0, 4), expected("return", "float32", slice(6, 7), slice(0, 4)))
        refused(root, stage, "the store was not closed")


def test_a_declared_structure_that_is_not_the_published_one_is_refused_at_once(root: Path) -> None:
    other = replace(PRICES, variables=(replace(PRICES.variables[0], dtype="int16"), PRICES.variables[1]))
    with Stage.begin(root, "second", clock=clock) as stage:
        with pytest.raises(WrongShape, match=r"ds_prices/return: declared int16 .* stored float32"):
            stage.create_or_open(other)
        more = replace(PRICES, variables=(*PRICES.variables, replace(PRICES.variables[0], name="volume")))
        with pytest.raises(WrongShape, match="lacks volume"):
            stage.create_or_open(more)


def test_nothing_is_published_without_a_passed_audit_of_these_very_bytes(root: Path) -> None:
    before = live_bytes(root)
    with Stage.begin(root, "second", clock=clock) as stage:
        stage_family(stage, 7, symbols(4))
        stage.record_audit("ds_betas", False, {}, [{"check": "replication", "passed": False}])
        with pytest.raises(NotAudited, match=r"ds_betas failed its audit \(replication\)"):
            promote_family(stage)
        stage.record_audit("ds_betas", True, {}, [])
        store = stage.create_or_open(FAMILY["ds_betas"])
        store.write("member", slice(6, 7), slice(0, 4), np.ones((1, 4), bool))
        store.close()
        with pytest.raises(NotAudited, match="ds_betas was changed after its audit"):
            promote_family(stage)
        stage.objects.delete(f"{stage.directory_key}/audits/ds_prices.json")
        with pytest.raises(NotAudited, match="ds_prices was not audited"):
            promote_family(stage)
    assert live_bytes(root) == before


def test_a_store_made_from_inputs_that_changed_since_is_not_published(root: Path) -> None:
    with Stage.begin(root, "second", clock=clock) as stage:
        stage_family(stage, 7, symbols(4))
        stage.record_audit("ds_betas", True, {"ds_prices": stage.digest("ds_prices")}, [])
        store = stage.create_or_open(PRICES)
        store.write("return", slice(6, 7), slice(0, 4), np.zeros((1, 4)))
        store.close()
        stage.record_audit("ds_prices", True, {}, [])
        with pytest.raises(NotAudited, match="ds_betas was made from another ds_prices"):
            promote_family(stage)
