"""Publishing on a local disk: the family switches at once, earlier publications stay openable."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.read import PublicationRetired, history, open_dataset, read_manifest
from pipeline.store.objects import StoreError
from pipeline.store.seal import Damaged
from pipeline.store.stage import Stage
from tests.store.family import (
    FAMILY,
    PRICES,
    SESSIONS,
    audit_all,
    clock,
    expected,
    live_bytes,
    promote_family,
    publish,
    raw_metadata,
    restate,
    sessions,
    stage_family,
    stage_store,
    symbols,
)


def values_of(count: int, cols: int, version: int = 0) -> np.ndarray:
    return expected("return", "float32", slice(0, count), slice(0, cols), version=version)


def test_day_by_day_and_at_once_give_the_same_chunks(tmp_path: Path) -> None:
    for count in range(3, 8):
        publish(tmp_path / "daily", f"run{count}", count, symbols(count - 1))
    publish(tmp_path / "once", "run7", 3, symbols(2))
    with Stage.begin(tmp_path / "once", "run8", clock=clock) as stage:
        for spec in FAMILY.values():
            for count in range(4, 8):
                store = stage_store(stage, spec, count, symbols(count - 1))
            assert len(store.teo) == 7
        audit_all(stage)
        promote_family(stage)
    daily, once = live_bytes(tmp_path / "daily"), live_bytes(tmp_path / "once")
    data = [key for key in once if ".zarr/" in key and not key.rpartition("/")[2].startswith(".z")]
    assert data
    assert [daily[key] for key in data] == [once[key] for key in data]
    assert sorted(key for key in daily if ".zarr/" in key) == sorted(key for key in once if ".zarr/" in key)


def test_running_the_same_range_again_publishes_nothing(tmp_path: Path) -> None:
    publish(tmp_path, "first", 5, symbols(3))
    before = live_bytes(tmp_path)
    assert publish(tmp_path, "again", 5, symbols(3)) is None
    assert live_bytes(tmp_path) == before
    assert not (tmp_path / ".staging").exists()


def test_plain_readers_follow_links_to_one_publication(tmp_path: Path) -> None:
    publish(tmp_path, "first", 3, symbols(2))
    for name in (*(f"{store}.zarr" for store in FAMILY), "manifest.json", "publish_log"):
        assert os.readlink(tmp_path / name) == f".publications/current/{name}"
    assert raw_metadata(tmp_path, "ds_prices")["return/.zarray"]["shape"] == [3, 2]


def test_unchanged_files_are_shared_and_not_copied(tmp_path: Path) -> None:
    publish(tmp_path, "first", 3, symbols(2))
    with Stage.begin(tmp_path, "second", clock=clock) as stage:
        stage_store(stage, PRICES, 4, symbols(2))
        audit_all(stage)
        promote_family(stage)
    one, two = (
        tmp_path / ".publications" / name / "ds_betas.zarr/beta/0.0.0" for name in ("000001-first", "000002-second")
    )
    assert one.stat().st_ino == two.stat().st_ino


def test_the_manifest_says_what_is_published_and_through_when_the_family_is_complete(tmp_path: Path) -> None:
    with Stage.begin(tmp_path, "first", clock=clock) as stage:
        stage_store(stage, PRICES, 6, symbols(2))
        stage.record_audit("ds_prices", True, {"prices.csv": "abc"}, [])
        promote_family(stage)
    manifest = read_manifest(tmp_path)
    assert manifest["complete_through"] is None
    with pytest.raises(StoreError, match="not complete"):
        open_dataset("ds_prices", tmp_path, as_of_manifest=True)
    with Stage.begin(tmp_path, "second", clock=clock) as stage:
        stage_store(stage, FAMILY["ds_betas"], 4, symbols(2))
        audit_all(stage)
        promote_family(stage)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    entry = manifest["stores"]["ds_prices"]
    assert manifest["complete_through"] == str(sessions(4)[-1])
    assert (entry["first"], entry["last"]) == (str(sessions(1)[0]), str(sessions(6)[-1]))
    assert entry["sizes"] == {"teo": 6, "symbol": 2}
    assert entry["inputs"] == {"prices.csv": "abc"}
    assert entry["publication"] == "000001-first"
    metadata = (tmp_path / "ds_prices.zarr/.zmetadata").read_bytes()
    assert entry["zmetadata_sha256"] == hashlib.sha256(metadata).hexdigest()
    assert open_dataset("ds_prices", tmp_path).sizes["teo"] == 6
    assert open_dataset("ds_prices", tmp_path, as_of_manifest=True).sizes["teo"] == 4


def test_a_reader_stays_on_the_publication_that_it_opened(tmp_path: Path) -> None:
    publish(tmp_path, "first", 6, symbols(3))
    lazy = open_dataset("ds_prices", tmp_path, as_of_manifest=True)
    restate(tmp_path, "second", 6, symbols(3))
    assert np.array_equal(lazy["return"].values, values_of(6, 3), equal_nan=True)
    now = open_dataset("ds_prices", tmp_path)["return"].values
    assert np.array_equal(now, values_of(6, 3, version=1), equal_nan=True)
    assert not np.array_equal(now, values_of(6, 3), equal_nan=True)


def test_what_a_restatement_replaced_is_kept_for_good_with_time_and_reason(tmp_path: Path) -> None:
    publish(tmp_path, "first", 6, symbols(3))
    restate(tmp_path, "second", 6, symbols(3))
    for count in range(7, 11):
        publish(tmp_path, f"run{count}", count, symbols(3), keep=2)
    rows = history(tmp_path).set_index("publication")
    assert rows.kept.to_dict() == {
        "000001-first": True, "000002-second": False, "000003-run7": False,
        "000004-run8": False, "000005-run9": True, "000006-run10": True,
    }  # fmt: skip
    assert rows.loc["000002-second", "reason"] == "a late split"
    assert rows.loc["000002-second", "published_utc"] == "2026-01-02T03:04:05Z"
    old = open_dataset("ds_prices", tmp_path, publication="000001-first")["return"].values
    assert np.array_equal(old, values_of(6, 3), equal_nan=True)


def test_a_publication_that_is_not_kept_is_read_from_a_later_one_cut_to_its_size(tmp_path: Path) -> None:
    publish(tmp_path, "run3", 3, symbols(4), keep=1)
    publish(tmp_path, "run4", 4, symbols(4), keep=1)
    for count in range(5, 9):
        publish(tmp_path, f"run{count}", count, symbols(5), keep=1)
    dataset = open_dataset("ds_prices", tmp_path, publication="000002-run4", as_of_manifest=True)
    assert dict(dataset.sizes) == {"teo": 4, "symbol": 4}
    assert np.array_equal(dataset["return"].values, values_of(4, 4), equal_nan=True)


def test_rows_from_before_a_restatement_are_never_read_from_after_it(tmp_path: Path) -> None:
    publish(tmp_path, "first", 5, symbols(3))
    publish(tmp_path, "second", 6, symbols(3))
    restate(tmp_path, "late", 6, symbols(3))
    shutil.rmtree(tmp_path / ".publications/000001-first")
    assert np.array_equal(
        open_dataset("ds_prices", tmp_path, publication="000001-first")["return"].values,
        values_of(5, 3),
        equal_nan=True,
    )
    shutil.rmtree(tmp_path / ".publications/000002-second")
    with pytest.raises(StoreError, match=r"'000001-first' under .* is no longer kept"):
        open_dataset("ds_prices", tmp_path, publication="000001-first")


def test_a_reader_of_a_removed_publication_gets_an_error_and_not_nan(tmp_path: Path) -> None:
    publish(tmp_path, "first", 6, symbols(3))
    lazy = open_dataset("ds_prices", tmp_path)
    for count in (7, 8):
        publish(tmp_path, f"run{count}", count, symbols(3), keep=1)
    with pytest.raises(PublicationRetired, match="000001-first was removed while it was read"):
        lazy["return"].load()


@pytest.mark.parametrize(("hours", "kept"), [(23, True), (25, False)])
def test_what_was_replaced_stays_openable_for_a_day_however_many_follow(tmp_path: Path, hours: int, kept: bool) -> None:
    """A reader that opened it reads on; later it is told, and gets no NaN."""
    for count, hour in ((3, 0), (4, 1), (5, 1), (6, 1 + hours)):  # the second one replaced the first after an hour
        now = clock() + timedelta(hours=hour)
        with Stage.begin(tmp_path, f"run{count}", clock=lambda now=now: now) as stage:
            stage_family(stage, count, symbols(3))
            promote_family(stage, keep=1, keep_for=timedelta(days=1))
        if count == 3:
            lazy = open_dataset("ds_prices", tmp_path)
    first = history(tmp_path).set_index("publication").kept["000001-run3"]
    assert first == kept
    if kept:
        assert np.array_equal(lazy["return"].values, values_of(3, 3), equal_nan=True)
    else:
        with pytest.raises(PublicationRetired, match="000001-run3"):
            lazy["return"].load()


def test_a_dataset_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    publish(tmp_path, "first", 6, symbols(3))
    for chunks in (None, {}):
        sent = pickle.loads(pickle.dumps(open_dataset("ds_prices", tmp_path, chunks=chunks)))
        assert np.array_equal(sent["return"].values, values_of(6, 3), equal_nan=True)


def test_files_beside_the_stores_switch_with_them(tmp_path: Path) -> None:
    file = tmp_path / "master.sqlite"
    root = tmp_path / "root"
    for k, content in enumerate((b"one", b"two")):
        file.write_bytes(content)
        with Stage.begin(root, f"run{k}", clock=clock) as stage:
            stage_store(stage, PRICES, 3 + k, symbols(2))
            stage.add_file("security_master.sqlite", file)
            stage.add_file("quality/report.json", file)
            audit_all(stage)
            promote_family(stage)
        assert (root / "security_master.sqlite").read_bytes() == content
        assert (root / "quality/report.json").read_bytes() == content
    assert (root / ".publications/000001-run0/security_master.sqlite").read_bytes() == b"one"
    with Stage.begin(root, "same", clock=clock) as stage:
        stage.add_file("security_master.sqlite", file)
        assert stage.staged_files == []
        assert stage.published_file("security_master.sqlite", tmp_path / "copy") == tmp_path / "copy"
        assert stage.published_file("other", tmp_path / "copy") is None


def test_a_published_file_is_read_where_it_lies_unless_it_was_changed_since_the_run_began(tmp_path: Path) -> None:
    root, file, name = tmp_path / "root", tmp_path / "master.sqlite", "security_master.sqlite"
    file.write_bytes(b"one")
    with Stage.begin(root, "first", clock=clock) as stage:
        stage_store(stage, PRICES, 3, symbols(2))
        stage.add_file(name, file)
        audit_all(stage)
        promote_family(stage)
    with Stage.begin(root, "second", clock=clock) as stage:
        there = stage.published_path(name, tmp_path / "copy")
        assert there is not None
        assert there.samefile(root / name)
        assert stage.published_path("other", tmp_path / "copy") is None
        there.write_bytes(b"two")
        with pytest.raises(Damaged, match="is not what was published"):
            stage.published_path(name, tmp_path / "copy")
        there.unlink()
        with pytest.raises(Damaged, match="is missing"):
            stage.published_file(name, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_store_that_something_else_made_is_not_overwritten(tmp_path: Path) -> None:
    foreign = tmp_path / "ds_prices.zarr"
    foreign.mkdir()
    (foreign / "precious").write_text("data")
    with pytest.raises(StoreError, match="was not made by this pipeline"):
        publish(tmp_path, "first", 3, symbols(2))
    assert (foreign / "precious").read_text() == "data"
    assert not (tmp_path / "ds_betas.zarr").exists()


def test_a_file_system_without_hard_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(1, "Operation not permitted", str(source))

    publish(tmp_path / "linked", "first", 4, symbols(2))
    publish(tmp_path / "linked", "second", 5, symbols(2))
    monkeypatch.setattr(os, "link", refuse)
    publish(tmp_path / "copied", "first", 4, symbols(2))
    publish(tmp_path / "copied", "second", 5, symbols(2))
    assert live_bytes(tmp_path / "copied") == live_bytes(tmp_path / "linked")


def test_two_roots_written_alike_are_the_same_bytes_with_metadata_and_manifest(tmp_path: Path) -> None:
    for name in ("one", "two"):
        publish(tmp_path / name, "first", 5, symbols(3))
        restate(tmp_path / name, "second", 6, symbols(4))
    assert live_bytes(tmp_path / "one") == live_bytes(tmp_path / "two")


def test_asking_for_what_is_not_there_says_what_is(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing is published under"):
        open_dataset("ds_prices", tmp_path)
    with pytest.raises(StoreError, match="nothing is published under"):
        read_manifest(tmp_path)
    assert history(tmp_path).empty
    publish(tmp_path, "first", 3, symbols(2))
    with pytest.raises(StoreError, match="no store 'ds_other' in 000001-first; it has ds_betas, ds_prices"):
        open_dataset("ds_other", tmp_path)
    with pytest.raises(StoreError, match="no publication '000009-x'; the live one is 000001-first"):
        open_dataset("ds_prices", tmp_path, publication="000009-x")
    with pytest.raises(StoreError, match="expected a directory or gs://BUCKET/PATH"):
        open_dataset("ds_prices", "s3://bucket/path")


def test_the_record_of_a_publication_keeps_what_the_run_noted(tmp_path: Path) -> None:
    with Stage.begin(tmp_path, "first", clock=clock) as stage:
        stage_store(stage, PRICES, 3, symbols(2))
        stage.note("ds_prices", {"rejected_cells": 3})
        audit_all(stage)
        record = promote_family(stage)
    assert record is not None
    assert record.stores["ds_prices"]["notes"] == {"rejected_cells": 3}
    assert json.loads((tmp_path / "publish_log/000001.json").read_text()) == record.as_json()


def test_history_of_a_store_lists_the_publications_that_wrote_it(tmp_path: Path) -> None:
    publish(tmp_path, "first", 3, symbols(2))
    with Stage.begin(tmp_path, "second", clock=clock) as stage:
        stage_store(stage, PRICES, 4, symbols(2))
        audit_all(stage)
        promote_family(stage)
    assert history(tmp_path, "ds_prices").publication.tolist() == ["000001-first", "000002-second"]
    assert history(tmp_path, "ds_betas").publication.tolist() == ["000001-first"]
    assert np.isin(sessions(4), SESSIONS).all()
