"""What was published and is lost is never taken for what never was: every kind of object, harmed in every way.

After a harm two nights are run. Each either adds its session to all that was there, or stops with a sentence that names
the object and the way out. Nothing is ever less than before, and `repair` puts back what has a whole copy.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.engine.views import PublishedFamily
from pipeline.read import damage, open_dataset, open_family, read_manifest
from pipeline.store.filesystem import open_publications
from pipeline.store.lease import LeaseHeld
from pipeline.store.objects import StoreError
from pipeline.store.promote import KEEP_FOR
from pipeline.store.repair import examine, repair
from pipeline.store.seal import Damaged
from pipeline.store.stage import Stage
from tests.store.family import FAMILY, clock, promote_family, stage_family, symbols

DECISIONS = "quality_decisions.jsonl"
MASTER = "security_master.sqlite"
WARM_UP = "warm_up_ds_daily.npz"
AGES = (1, 3, 7)

KINDS = {
    "the pointer": ".publications/current",
    "the mark of the last one": ".publications/published",
    "the manifest": "{live}/manifest.json",
    "the digests": "{live}/digests.json",
    "the newest record": "{live}/publish_log/{number:06d}.json",
    "the oldest record": "{live}/publish_log/000001.json",
    "a chunk of floats": "{live}/ds_prices.zarr/return/0.0",
    "a chunk of codes": "{live}/ds_prices.zarr/flag/0.0",
    "an axis": "{live}/ds_betas.zarr/symbol/0",
    "consolidated metadata": "{live}/ds_betas.zarr/.zmetadata",
    "metadata of an array": "{live}/ds_prices.zarr/return/.zarray",
    "attributes of an array": "{live}/ds_prices.zarr/return/.zattrs",
    "attributes of a store": "{live}/ds_betas.zarr/.zattrs",
    "a group": "{live}/ds_betas.zarr/.zgroup",
    "a file beside the stores": "{live}/security_master.sqlite",
    "a file that only the first night wrote": "{live}/warm_up_ds_daily.npz",
    "decisions of people": DECISIONS,
    "a spare": "{live}/.spare/manifest.json",
    "a whole store": "{live}/ds_betas.zarr",
    "a link to a store": "ds_prices.zarr",
    "all publications": ".publications",
}
NOT_NEEDED = {"the mark of the last one", "a spare", "a link to a store"}
FOUND_BY_READING_ALL = {"the oldest record"}
"""Harm to the first stops no night. A night may miss it in the others, which `erm3 verify` reads."""


def gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def emptied(path: Path) -> None:
    replaced(path, b"")


def cut(path: Path) -> None:
    replaced(path, path.read_bytes()[: len(path.read_bytes()) // 2])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x20
    replaced(path, bytes(data))


def swapped(path: Path) -> None:
    """Exchanged for a sibling: another chunk, another record, another file."""
    others = sorted(p for p in path.parent.parent.rglob("*") if p.is_file() and p.name != path.name)
    replaced(path, next(p.read_bytes() for p in others if p.read_bytes() != path.read_bytes()))


def dangling(pointer: Path) -> None:
    """Led to a publication that is not there."""
    led_to(pointer, "000099-not-there")


def led_back(pointer: Path) -> None:
    """Led to the publication before, which is whole."""
    led_to(pointer, sorted(path.name for path in pointer.parent.glob("0*"))[-2])


def led_to(pointer: Path, publication: str) -> None:
    pointer.unlink()
    pointer.symlink_to(publication)


def replaced(path: Path, data: bytes) -> None:
    """Other bytes in a new file: hard links of other publications keep theirs."""
    fresh = path.with_name(f"{path.name}.fresh")
    fresh.write_bytes(data)
    fresh.replace(path)


Harm = Callable[[Path], None]
HARMS: tuple[Harm, ...] = (gone, emptied, cut, flipped, swapped)
OF_A_LINK: tuple[Harm, ...] = (gone, dangling, led_back)


def night(root: Path, count: int) -> None:
    """One more session of the family, with its file."""
    file = root.parent / f"{root.name}.file"
    file.write_bytes(b"master" * (10 + count))
    read_once = root.parent / f"{root.name}.npz"
    read_once.write_bytes(b"warm-up" * 10)
    with Stage.begin(root, f"run{count}", clock=clock) as stage:
        stage_family(stage, count, symbols(3))
        stage.add_file(MASTER, file)
        stage.add_file(WARM_UP, read_once)
        promote_family(stage, keep=2, keep_for=KEEP_FOR)


@pytest.fixture(scope="module")
def aged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, Path], Path]:
    """A copy of a root with so many publications, made once for each age."""
    made: dict[int, Path] = {}

    def copy(age: int, to: Path) -> Path:
        if age not in made:
            made[age] = tmp_path_factory.mktemp("aged") / "root"
            for k in range(age):
                night(made[age], 3 + k)
                with (made[age] / DECISIONS).open("a") as decisions:
                    decisions.write(json.dumps({"decision": k}) + "\n")
            night(made[age], 3 + age)
        shutil.copytree(made[age], to, symlinks=True)
        return to

    return copy


def place(root: Path, kind: str) -> Path:
    live = f".publications/{open_publications(root).current()}"
    return root / KINDS[kind].format(live=live, number=read_manifest(root)["number"])


def harms_of(kind: str) -> tuple[Harm, ...]:
    if kind == "the pointer":
        return OF_A_LINK
    return (gone,) if kind in ("a whole store", "a link to a store", "all publications") else HARMS


def publications(root: Path) -> set[str]:
    return {path.name for path in (root / ".publications").glob("0*")}


def two_nights(root: Path, count: int) -> list[str]:
    """What stopped each of two nights, "" for one that went through."""
    said = []
    for k in (1, 2):
        try:
            night(root, count + k)
            said.append("")
        except StoreError as error:
            said.append(str(error))
    return said


Case = tuple[tuple[str, Harm], ...]
"""Kinds of objects, and what is done to each."""


def cases_of(*kinds: str) -> list[Case]:
    """Every harm of each, with every harm of the others."""
    return list(itertools.product(*([(kind, harm) for harm in harms_of(kind)] for kind in kinds)))


SINGLE = [case for kind in KINDS for case in cases_of(kind)]
WITH_ANY_HARM = [case for kind in ("the pointer", "the manifest") for case in cases_of(kind, "the newest record")]
WITH_ONE_HARM = [
    case
    for pair in [*itertools.combinations(list(KINDS)[:6], 2), ("the manifest", "a chunk of floats")]
    for case in cases_of(*pair)
    if len({harm for _, harm in case} - {dangling, led_back}) == 1 and case not in WITH_ANY_HARM
]
"""Pairs of the pointer, the mark, the manifest, the digests and the records, and a manifest with a chunk."""


def named(case: Case) -> str:
    return "-".join(f"{kind}-{harm.__name__}" for kind, harm in case)


@pytest.mark.parametrize("case", SINGLE, ids=named)
def test_a_harmed_object_costs_nothing_that_was_published(
    case: Case, aged: Callable[[int, Path], Path], tmp_path: Path
) -> None:
    check(aged(3, tmp_path / "root"), 3, case)


@pytest.mark.slow
@pytest.mark.parametrize("age", AGES)
def test_harm_at_three_ages_and_in_pairs_costs_nothing(
    age: int, aged: Callable[[int, Path], Path], tmp_path: Path
) -> None:
    for k, case in enumerate([*SINGLE, *WITH_ANY_HARM, *WITH_ONE_HARM]):
        root = aged(age, tmp_path / f"{k}")
        check(root, age, case)
        shutil.rmtree(root)


def test_every_object_of_a_root_is_of_a_kind_that_is_harmed_here(
    aged: Callable[[int, Path], Path], tmp_path: Path
) -> None:
    root = aged(3, tmp_path / "root")
    there = [path for path in root.rglob("*") if path.is_symlink() or path.is_file()]
    kinds = {alike(path, root) for path in there} - {alike(place(root, kind), root) for kind in KINDS}
    assert all(kind.startswith(".lease.") for kind in kinds), kinds


def alike(path: Path, root: Path) -> str:
    """The kind of an object, wherever it lies: of a store the role of the object in it, of others the name."""
    inside, name = path.relative_to(root).as_posix(), path.name
    if ".spare/" in inside:
        return "spare"
    if "publish_log/" in inside:
        return "record"
    if path.is_symlink() and path.parent == root:
        return "link"
    return "chunk" if ".zarr/" in inside and name[0].isdigit() else name


def check(root: Path, age: int, case: Case) -> None:
    count, number, there, kinds = 3 + age, age + 1, publications(root), [kind for kind, _ in case]
    places = [place(root, kind) for kind in kinds]
    whole = root.parent / f"{root.name}-whole"
    shutil.copytree(root, whole, symlinks=True)
    for path, (_, harm) in zip(places, case, strict=True):
        harm(path)
    said = two_nights(root, count)
    if "all publications" not in kinds:
        assert publications(root) >= there, "a publication is gone"
    for sentence in said:
        if sentence:
            assert "erm3 repair --root" in sentence, sentence
            named = any(path.name in sentence or "ds_betas" in sentence for path in places)
            assert named or "which publication is live" in sentence, sentence
    if all(kind in NOT_NEEDED for kind in kinds):
        assert said == ["", ""], said
    elif not any(said) and not set(kinds) <= FOUND_BY_READING_ALL | NOT_NEEDED:
        pytest.fail(f"nobody was told of {kinds}")
    done, left = repair(open_publications(root), open_publications(whole))
    if "all publications" in kinds:
        assert left
        return
    assert left == [], (left, done)
    seen = read_manifest(root)
    assert seen["number"] >= number
    assert seen["stores"]["ds_prices"]["sizes"]["teo"] >= count
    night(root, seen["stores"]["ds_prices"]["sizes"]["teo"] + 1)
    assert read_manifest(root)["number"] > number
    assert damage(root) == []


def test_repair_says_first_and_changes_nothing_until_it_is_asked_to(
    aged: Callable[[int, Path], Path], tmp_path: Path
) -> None:
    root = aged(3, tmp_path / "root")
    gone(place(root, "the manifest"))
    before = sorted(str(p) for p in root.rglob("*"))
    (step,) = examine(open_publications(root))
    assert (step.what.rpartition("/")[2], ".spare" in step.how) == ("manifest.json is missing", True)
    assert sorted(str(p) for p in root.rglob("*")) == before


def test_nothing_is_repaired_below_a_run_that_is_writing(aged: Callable[[int, Path], Path], tmp_path: Path) -> None:
    root = aged(1, tmp_path / "root")
    with Stage.begin(root, "writing", clock=clock):
        gone(place(root, "the manifest"))
        with pytest.raises(LeaseHeld, match="is being written by run writing"):
            repair(open_publications(root), clock=clock)
    assert repair(open_publications(root))[1] == []


def test_nothing_whole_means_nothing_is_changed_and_said_so(aged: Callable[[int, Path], Path], tmp_path: Path) -> None:
    root = aged(3, tmp_path / "root")
    for path in (root / ".publications").glob("0*/ds_prices.zarr/return/0.0"):
        flipped(path)
    done, left = repair(open_publications(root))
    assert done == []
    assert left == ["ds_prices.zarr/return/0.0 is not what was published"]
    with pytest.raises(Damaged, match=r"return/0\.0 is not what was published"):
        night(root, 7)


def test_a_root_with_publications_never_begins_with_number_one_again(
    aged: Callable[[int, Path], Path], tmp_path: Path
) -> None:
    root = aged(1, tmp_path / "root")
    (root / ".publications/current").unlink()
    for name in ("published", "building"):
        (root / ".publications" / name).unlink(missing_ok=True)
    with pytest.raises(Damaged, match="nothing says which publication is live"):
        night(root, 5)
    with pytest.raises(Damaged, match="nothing says which publication is live"):
        open_family(root)


def test_a_first_publication_that_is_finished_while_a_reader_looks_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    publications = open_publications(root)
    right, looks = publications.traces, []

    def finished_meanwhile() -> list[str]:
        if not looks:
            night(root, 3)
        looks.append(1)
        return right()

    monkeypatch.setattr(publications, "traces", finished_meanwhile)
    manifest = publications.manifest()
    assert manifest is not None
    assert manifest["number"] == 1


def test_what_nobody_published_is_set_aside_and_not_deleted(aged: Callable[[int, Path], Path], tmp_path: Path) -> None:
    root = aged(1, tmp_path / "root")
    stranger = place(root, "a chunk of floats").with_name("0.9")
    stranger.write_bytes(b"whose?")
    (root / "notes.txt").write_text("of a person")
    with pytest.raises(Damaged, match=r"return/0\.9 was never published"):
        night(root, 5)
    _, left = repair(open_publications(root))
    assert left == []
    assert not stranger.exists()
    assert [p.read_bytes() for p in (root / ".set-aside").rglob("0.9")] == [b"whose?"]
    night(root, 5)
    assert (root / "notes.txt").read_text() == "of a person"


def test_a_lost_chunk_of_floats_is_an_error_for_readers_and_not_nan(
    aged: Callable[[int, Path], Path], tmp_path: Path
) -> None:
    root = aged(1, tmp_path / "root")
    gone(place(root, "a chunk of floats"))
    with pytest.raises(Damaged, match=r"return/0\.0 is missing"):
        open_dataset("ds_prices", root)["return"].load()


def test_a_pointer_set_back_is_found_and_set_forward_again(aged: Callable[[int, Path], Path], tmp_path: Path) -> None:
    root = aged(3, tmp_path / "root")
    last = open_publications(root).current()
    earlier = sorted(publications(root))[-2]
    (root / ".publications/current").unlink()
    (root / ".publications/current").symlink_to(earlier)
    with pytest.raises(Damaged, match=f"names {earlier}, but {last} was published after it"):
        night(root, 7)
    assert damage(root)
    assert repair(open_publications(root))[1] == []
    assert open_publications(root).current() == last


def test_a_family_is_opened_as_one_however_many_publications_follow(
    aged: Callable[[int, Path], Path], tmp_path: Path
) -> None:
    root = aged(1, tmp_path / "root")
    family, looked_at = open_family(root), PublishedFamily(str(root))
    one = family.dataset("ds_prices")
    looked_at.view("ds_prices")
    for count in (5, 6, 7):
        night(root, count)
    other = family.dataset("ds_betas")
    assert one.attrs["publication"] == other.attrs["publication"] == family.publication
    assert looked_at.view("ds_betas").dataset.attrs["publication"] == family.publication, "what `erm3 verify` reads"
    assert one.sizes["teo"] == other.sizes["teo"] == 4
    assert float(one["return"].notnull().sum()) > 0, "it is kept for a day, though three others followed"
    assert set(family.stores) == set(FAMILY)


def test_a_decision_that_was_written_over_stops_the_night(aged: Callable[[int, Path], Path], tmp_path: Path) -> None:
    root = aged(1, tmp_path / "root")
    (root / DECISIONS).write_text(json.dumps({"decision": "another"}) + "\n")
    with pytest.raises(Damaged, match="does not begin with what was there"):
        night(root, 5)


def _lines(path: Path) -> Iterator[str]:
    yield from path.read_text().splitlines()


def test_decisions_may_grow(aged: Callable[[int, Path], Path], tmp_path: Path) -> None:
    root = aged(1, tmp_path / "root")
    with (root / DECISIONS).open("a") as decisions:
        decisions.write(json.dumps({"decision": "more"}) + "\n")
    night(root, 5)
    assert len([*_lines(root / DECISIONS)]) == 2
