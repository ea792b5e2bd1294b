"""Damage to published data is found, whatever is damaged."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.read import damage
from pipeline.store.filesystem import open_publications
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


HARMS: dict[str, Callable[[bytes, bytes, random.Random], bytes | None]] = {
    "flipped": lambda data, other, chance: _flipped(data, chance),
    "swapped": lambda data, other, chance: other,
    "deleted": lambda data, other, chance: None,
    "truncated": lambda data, other, chance: data[: chance.randrange(len(data))],
}


def _flipped(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def test_each_of_240_harms_to_any_object_is_found_and_no_other_is_named(root: Path) -> None:
    """Any bit of any object of a publication, and any other object in its place."""
    live = root / ".publications" / str(open_publications(root).current())
    objects = sorted(path for path in live.glob("*.zarr/**/*") if path.is_file())
    chance, met = random.Random(20140630), set()
    for k in range(240):
        kind, harm = list(HARMS.items())[k % 4]
        path = objects[k // 4 % len(objects)] if k // 4 < len(objects) else chance.choice(objects)
        whole = path.read_bytes()
        others = [p.read_bytes() for p in objects if p.name == path.name and p.read_bytes() != whole]
        harmed = harm(whole, chance.choice(others) if others else b"", chance)
        _put(path, harmed)
        named = [line.split(" ")[0] for line in damage(root)]
        assert named == [path.relative_to(live).as_posix()], f"{kind}: {path}"
        _put(path, whole)
        met.add((path, kind))
    assert {path for path, _ in met} == set(objects), "every kind of object was harmed"
    assert damage(root) == []


def _put(path: Path, data: bytes | None) -> None:
    """Other bytes in a new file, none for None: hard links of other publications keep theirs."""
    path.unlink(missing_ok=True)
    if data is not None:
        path.write_bytes(data)
