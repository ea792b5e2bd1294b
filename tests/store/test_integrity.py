"""Damage to published data is found, whatever is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.read import damage
from tests.store.family import publish, restate, symbols


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish(tmp_path, "first", 5, symbols(3))
    restate(tmp_path, "second", 6, symbols(4))
    return tmp_path


def test_what_was_published_is_whole(root: Path) -> None:
    assert damage(root) == []
    assert damage(root / "empty") == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def stale(path: Path) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "shape": [5, 4]}))


@pytest.mark.parametrize(
    ("object", "harm", "said"),
    [
        ("ds_prices.zarr/return/0.0", Path.unlink, "ds_prices.zarr/return/0.0 is missing"),
        ("ds_prices.zarr/flag/0.0", Path.unlink, "ds_prices.zarr/flag/0.0 is missing"),
        ("ds_betas.zarr/beta/0.0.1", cut, "ds_betas.zarr/beta/0.0.1 is not what was published"),
        ("ds_betas.zarr/.zmetadata", cut, "ds_betas.zarr/.zmetadata is not what was published"),
        ("ds_betas.zarr/.zmetadata", Path.unlink, "ds_betas.zarr/.zmetadata is missing"),
        ("ds_prices.zarr/return/.zarray", stale, "ds_prices.zarr/return/.zarray is not what was published"),
        ("ds_prices.zarr/symbol/0", cut, "ds_prices.zarr/symbol/0 is not what was published"),
    ],
)
def test_every_kind_of_damage_is_found_and_named(
    root: Path, object: str, harm: Callable[[Path], object], said: str
) -> None:
    harm(root / object)
    found = damage(root)
    assert any(line.startswith(said) for line in found), found
