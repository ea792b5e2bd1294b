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
    "the newest record": "publish_log/000003.json",
    "a chunk of floats": "ds_prices.zarr/return/0.0",
    "an axis": "ds_betas.zarr/symbol/0",
    "consolidated metadata": "ds_betas.zarr/.zmetadata",
    "a file beside the stores": "security_master.sqlite",
}


def gone(objects: Objects, key: str) -> None:
    objects.delete(key)


def cut(objects: Objects, key: str) -> None:
    data = objects.read(key) or b""
    objects.write(key, data[: len(data) // 2])


def flipped(objects: Objects, key: str) -> None:
    data = bytearray(objects.read(key) or b"")
    data[len(data) // 2] ^= 0x20
    objects.write(key, bytes(data))


HARMS = (gone, cut, flipped)
CASES = [*itertools.product(KINDS, HARMS)]


def night(root: str | Path, count: int, at: Path) -> None:
    file = at / "file"
    file.write_bytes(b"master" * (10 + count))
    with Stage.begin(root, f"run{count}", clock=clock) as stage:
        stage_family(stage, count, symbols(3))
        stage.add_file("security_master.sqlite", file)
        promote_family(stage)


def published(root: str | Path, at: Path) -> None:
    for count in (5, 6, 7):
        night(root, count, at)


def harmed_and_repaired(
    root: str, whole: Path, kind: str, harm: Callable[[Objects, str], None], at: Path, refused: tuple[int, ...] = (8,)
) -> None:
    """Harm is noticed by the nights after it, and repaired from a copy without loss."""
    objects = open_objects(root)
    harm(objects, KINDS[kind])
    for count in refused:
        with pytest.raises(StoreError, match="erm3 repair --root") as told:
            night(root, count, at)
        assert KINDS[kind].rpartition("/")[2] in str(told.value) or "which publication is live" in str(told.value)
    assert damage(root)
    _, left = repair(open_publications(root), open_publications(whole))
    assert left == []
    assert read_manifest(root)["number"] == 3


def goes_on(root: str, at: Path) -> None:
    night(root, 8, at)
    assert read_manifest(root)["number"] == 4
    assert damage(root) == []


def test_a_harmed_object_of_a_bucket_costs_nothing_that_was_published(new_root: NewRoot, tmp_path: Path) -> None:
    root, whole = new_root(), tmp_path / "whole"
    published(root, tmp_path)
    published(whole, tmp_path)
    for kind, harm in (("the manifest", gone), ("a chunk of floats", gone), ("an axis", flipped)):
        harmed_and_repaired(root, whole, kind, harm, tmp_path)
    goes_on(root, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "harm"), CASES, ids=[f"{k}-{h.__name__}" for k, h in CASES])
def test_every_kind_of_harm_to_a_bucket_costs_nothing(
    kind: str, harm: Callable[[Objects, str], None], new_root: NewRoot, tmp_path: Path
) -> None:
    root, whole = new_root(), tmp_path / "whole"
    published(root, tmp_path)
    published(whole, tmp_path)
    harmed_and_repaired(root, whole, kind, harm, tmp_path, refused=(8, 9))
    goes_on(root, tmp_path)


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
