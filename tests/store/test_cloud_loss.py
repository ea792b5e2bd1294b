"""Loss in a bucket: what was published there is never taken for what never was either."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.read import damage, read_manifest
from pipeline.store.filesystem import open_objects, open_publications
from pipeline.store.objects import Objects, StoreError
from pipeline.store.repair import repair
from pipeline.store.seal import Damaged
from pipeline.store.stage import Stage
from tests.store.conftest import Emulator
from tests.store.family import clock, promote_family, stage_family, symbols

NewRoot = Callable[[], str]
pytestmark = pytest.mark.usefixtures("emulator")

KINDS = {
    "the manifest": "manifest.json",
    "the digests": "digests.json",
    "the newest record": "publish_log/{number:06d}.json",
    "a chunk of floats": "ds_prices.zarr/return/0.0",
    "a chunk of codes": "ds_prices.zarr/flag/0.0",
    "metadata of an array": "ds_prices.zarr/return/.zarray",
    "attributes of a store": "ds_betas.zarr/.zattrs",
    "the oldest record": "publish_log/000001.json",
    "an axis": "ds_betas.zarr/symbol/0",
    "consolidated metadata": "ds_betas.zarr/.zmetadata",
    "a file beside the stores": "security_master.sqlite",
    "a file that only the first night wrote": "warm_up_ds_daily.npz",
}
PAIRS = (("the manifest", "the newest record"), ("the manifest", "the digests"), ("the digests", "a chunk of floats"))
AGES = (1, 3, 7)
BEFORE = 4
"""Sessions that are published less one for each publication."""


def gone(objects: Objects, key: str) -> None:
    objects.delete(key)


def cut(objects: Objects, key: str) -> None:
    data = objects.read(key) or b""
    objects.write(key, data[: len(data) // 2])


def flipped(objects: Objects, key: str) -> None:
    data = bytearray(objects.read(key) or b"")
    data[len(data) // 2] ^= 0x20
    objects.write(key, bytes(data))


def emptied(objects: Objects, key: str) -> None:
    """Of its content; the emulator cannot take an object without a byte."""
    objects.write(key, b" ")


def swapped(objects: Objects, key: str) -> None:
    """Exchanged for another object."""
    other = "ds_prices.zarr/flag/0.0" if "flag" not in key else "ds_prices.zarr/return/0.0"
    objects.write(key, objects.read(other) or b"")


HARMS = (gone, emptied, cut, flipped, swapped)
CASES = [*itertools.product([*((kind,) for kind in KINDS), *PAIRS], HARMS)]


def night(root: str | Path, count: int, at: Path) -> None:
    file = at / "file"
    file.write_bytes(b"master" * (10 + count))
    read_once = at / "npz"
    read_once.write_bytes(b"warm-up" * 10)
    with Stage.begin(root, f"run{count}", clock=clock) as stage:
        stage_family(stage, count, symbols(3))
        stage.add_file("security_master.sqlite", file)
        stage.add_file("warm_up_ds_daily.npz", read_once)
        promote_family(stage)


def published(root: str | Path, at: Path, age: int = 3) -> None:
    for k in range(age):
        night(root, BEFORE + 1 + k, at)


def harmed_and_repaired(
    root: str, whole: Path, kinds: tuple[str, ...], harm: Callable[[Objects, str], None], at: Path, age: int = 3
) -> None:
    """Harm is noticed by the two nights after it, and repaired from a copy without loss."""
    objects, keys = open_objects(root), [KINDS[kind].format(number=age) for kind in kinds]
    for key in keys:
        harm(objects, key)
    for count in (1, 2) if age == 1 or kinds != ("the oldest record",) else ():  # of many it is read by `damage` alone
        with pytest.raises(StoreError, match="erm3 repair --root") as told:
            night(root, BEFORE + age + count, at)
        said = str(told.value)
        named = any(key.rpartition("/")[2] in said for key in keys)
        assert named or "which publication is live" in said, (kinds, harm.__name__, said)
    assert damage(root)
    _, left = repair(open_publications(root), open_publications(whole))
    assert left == [], (kinds, harm.__name__)
    assert read_manifest(root)["number"] == age


def goes_on(root: str, at: Path, age: int = 3) -> None:
    night(root, BEFORE + age + 1, at)
    assert read_manifest(root)["number"] == age + 1
    assert damage(root) == []


@pytest.mark.slow
def test_a_harmed_object_of_a_bucket_costs_nothing_that_was_published(new_root: NewRoot, tmp_path: Path) -> None:
    root, whole = new_root(), tmp_path / "whole"
    published(root, tmp_path)
    published(whole, tmp_path)
    for kind, harm in (("the manifest", gone), ("a chunk of floats", gone), ("an axis", flipped)):
        harmed_and_repaired(root, whole, (kind,), harm, tmp_path)
    goes_on(root, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("age", AGES)
def test_every_kind_of_harm_to_a_bucket_costs_nothing_at_any_age(age: int, new_root: NewRoot, tmp_path: Path) -> None:
    root, whole = new_root(), tmp_path / "whole"
    published(root, tmp_path, age)
    published(whole, tmp_path, age)
    for kinds, harm in CASES:
        harmed_and_repaired(root, whole, kinds, harm, tmp_path, age)
    goes_on(root, tmp_path, age)


def test_a_bucket_whose_manifest_is_of_an_earlier_number_is_not_built_on(
    new_root: NewRoot, emulator: Emulator, tmp_path: Path
) -> None:
    root = new_root()
    for count in (5, 6):
        night(root, count, tmp_path)
    earlier = open_objects(root).read("manifest.json")
    assert earlier is not None
    night(root, 7, tmp_path)
    open_objects(root).write("manifest.json", earlier)
    with pytest.raises(Damaged, match="but number 3 was published"):
        night(root, 8, tmp_path)
    assert repair(open_publications(root))[1] == []
    assert read_manifest(root)["number"] == 3


def test_an_empty_bucket_has_nothing_to_repair(new_root: NewRoot) -> None:
    assert repair(open_publications(new_root())) == ([], [])
