"""The warm-up is read once: later nights use what was published of it, and say what the vendor has rewritten since."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.calendar import xnys
from pipeline.engine import execution, operations
from pipeline.quality.decisions import QualityDecision, append_decision
from pipeline.quality.session_rules import BatchFault
from pipeline.read import damage
from pipeline.sources import SourceTables
from pipeline.store.filesystem import open_publications
from pipeline.store.repair import repair
from pipeline.store.seal import OF_ITSELF, Damaged, digests_document, manifest_document
from tests.engine.conftest import NIGHT
from tests.engine.published_market import FIRST, Delivered, differences, known_at, published, settings_for

AFTER = "2019-01-15"
FILES = (
    "warm_up_ds_daily.npz",
    "warm_up_ds_etf.npz",
    "delivered_warm_up.parquet",
    "delivered_warm_up_events.parquet",
)
BESIDE = (
    "delivered_bars.parquet",
    "delivered_events.parquet",
    "delivered_tables.json",
    "delivered_years.parquet",
    "quality_findings.parquet",
    "security_master.sqlite",
)
"""What else lies beside the stores."""


def rewritten(tables: SourceTables, night: str, names: int, since: str = "2018-03-01") -> Delivered:
    """The delivery of a night in which the closes of some stocks from `since` to May are another."""
    delivered = known_at(tables, night).load()
    prices = delivered.prices.copy()
    codes = delivered.securities.loc[delivered.securities["type"] == "common", "vendor_code"].astype(str).iloc[:names]
    at = prices["vendor_code"].isin(list(codes)) & prices["date"].between(since, "2018-05-31")
    assert at.sum() >= names
    prices.loc[at, ["open", "high", "low", "close"]] *= 1.5
    return Delivered(replace(delivered, prices=prices))


def published_night(root: Path, source: Delivered, night: str = NIGHT) -> execution.Outcome:
    return execution.execute(settings_for(root), night, night, source=source)


@pytest.fixture(scope="session")
def clean(once: Callable, published_eve: Path, tables: SourceTables) -> Path:
    """The root of EVE with NIGHT as it was. Only read it."""

    def make(place: Path) -> None:
        root = shutil.copytree(published_eve, place / "root", symlinks=True)
        published_night(root, known_at(tables, NIGHT))

    return once("engine-warm-up-night", make) / "root"


def test_a_rewritten_warm_up_stops_the_night_and_moves_no_beta_when_it_is_accepted(tables, eve, clean):
    with pytest.raises(BatchFault, match=r"drift: \d+ of \d+ bars of the warm-up were rewritten") as stopped:
        published_night(eve, rewritten(tables, NIGHT, 12))
    assert f"erm3 quality release '*' {NIGHT} --rule drift --reason" in str(stopped.value)
    for rule in ("drift", "rewritten_years"):  # of the same closes, and both say so
        said = QualityDecision("*", NIGHT, "release", f"{NIGHT}T23:00:00", "anna", "as it is", rule)
        append_decision(str(eve), said)
    told = published_night(eve, rewritten(tables, NIGHT, 12)).findings
    assert told.counts["rewritten_bar"] > 500
    assert any("is published in the warm-up, now it is told as" in line for line in told.loud)
    assert any(f"erm3 restate --from {FIRST} " in line for line in told.loud)
    assert differences(published(eve), published(clean)) == []
    again = published_night(eve, rewritten(tables, AFTER, 12), AFTER).findings
    assert "rewritten_bar" not in again.counts, "it is said once"


def test_a_few_rewritten_bars_of_the_warm_up_are_findings_and_stop_nothing(tables, eve):
    source = rewritten(tables, NIGHT, 2, since="2018-05-31")
    told = execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=source).findings
    assert told.counts["rewritten_bar"] == 2
    rows = pd.read_parquet(eve / "quality_findings.parquet")
    rows = rows[rows["rule"] == "rewritten_bar"]
    assert set(rows["session"]) == {xnys().ordinal("2018-05-31")}
    assert rows["evidence"].str.contains("when it was read for the warm-up; now").all()


def with_dividends(tables: SourceTables, night: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Delivered:
    """The delivery of a night in which the dividends of the warm-up are others."""
    delivered = known_at(tables, night).load()
    paid = delivered.dividends
    early = paid["ex_date"] < "2018-08-01"
    assert early.sum() > 40
    return Delivered(replace(delivered, dividends=pd.concat([change(paid[early]), paid[~early]], ignore_index=True)))


def inputs_of_a_night(root: Path, source: Delivered) -> execution.Outcome:
    return execution.execute(settings_for(root), NIGHT, NIGHT, until="ds_etf", source=source)


EVENTS = {
    "gone": (lambda paid: paid.iloc[5:], "dividend of .* when it was read for the warm-up; now no event"),
    "another": (
        lambda paid: pd.concat([paid.iloc[:5].assign(amount=paid["amount"].iloc[:5] * 3), paid.iloc[5:]]),
        "dividend of .* when it was read for the warm-up; now dividend of ",
    ),
    "added": (
        lambda paid: pd.concat([paid, paid.iloc[:5].assign(kind="special")]),
        "dividend of .* when it was read for the warm-up; now dividend of .*special",
    ),
}


@pytest.mark.parametrize(
    "case", ["gone", *(pytest.param(name, marks=pytest.mark.slow) for name in ("another", "added"))]
)
def test_a_rewritten_event_of_the_warm_up_is_said_with_what_mends_it(case, tables, eve):
    change, evidence = EVENTS[case]
    told = inputs_of_a_night(eve, with_dividends(tables, NIGHT, change)).findings
    assert told.counts["rewritten_event"] == 5
    assert sum(" for the warm-up; now " in line for line in told.loud) == 5
    assert told.loud[-1].endswith(f'erm3 restate --from {FIRST} --reason "the vendor corrected events"')
    rows = pd.read_parquet(eve / "quality_findings.parquet")
    rows = rows[rows["rule"] == "rewritten_event"]
    assert rows["evidence"].str.fullmatch(evidence + ".*").all()
    assert (rows["session"] < xnys().ordinal(FIRST)).all()


@pytest.mark.slow
def test_many_rewritten_events_of_the_warm_up_stop_the_night_and_move_nothing_when_they_are_accepted(
    tables, eve, clean
):
    source = with_dividends(tables, NIGHT, lambda paid: paid.assign(amount=paid["amount"] * 2))
    with pytest.raises(BatchFault, match=r"drift: \d+ of \d+ events of the warm-up were rewritten"):
        published_night(eve, source)
    append_decision(str(eve), QualityDecision("*", NIGHT, "release", f"{NIGHT}T23:00:00", "anna", "as it is", "drift"))
    assert published_night(eve, source).findings.counts["rewritten_event"] > 40
    assert differences(published(eve), published(clean)) == []
    again = with_dividends(tables, AFTER, lambda paid: paid.assign(amount=paid["amount"] * 2))
    assert "rewritten_event" not in published_night(eve, again, AFTER).findings.counts, "it is said once"


@pytest.mark.slow
def test_an_event_of_the_warm_up_that_became_known_later_is_no_rewritten_one(tables, eve):
    late = {"known_from": pd.Timestamp(f"{NIGHT}T12:00"), "known_assumed": False}
    source = with_dividends(
        tables,
        NIGHT,
        lambda paid: pd.concat([paid, paid.assign(amount=paid["amount"] * 2, **late)]).astype(paid.dtypes),
    )
    assert "rewritten_event" not in inputs_of_a_night(eve, source).findings.counts


@pytest.mark.slow
def test_a_restatement_of_all_sessions_counts_the_changed_warm_up_and_equals_a_root_made_from_it(tables, eve, tmp_path):
    done = operations.restate(settings_for(eve), FIRST, "another warm-up", source=rewritten(tables, "2019-01-11", 1))
    changed = done.changes.set_index(["store", "variable"]).loc[("ds_daily", "return of the warm-up")]
    assert changed["cells"] >= 2
    assert str(changed["last"])[:10] < FIRST
    assert str(done.first) == FIRST
    assert done.changes["store"].str.startswith("ds_erm3_betas").any()
    fresh = tmp_path / "fresh"
    execution.execute(settings_for(fresh), FIRST, "2019-01-11", source=rewritten(tables, "2019-01-11", 1))
    assert differences(published(eve), published(fresh)) == []
    told = published_night(eve, rewritten(tables, NIGHT, 1)).findings
    assert "rewritten_bar" not in told.counts


def test_a_restatement_of_later_sessions_leaves_the_warm_up_as_it_was_read(tables, eve):
    before = {name: (eve / name).read_bytes() for name in FILES}
    source = rewritten(tables, "2019-01-11", 12)
    done = operations.restate(settings_for(eve), "2019-01-08", "nothing since then is another", source=source)
    assert done.publication is None
    assert {name: (eve / name).read_bytes() for name in FILES} == before


def test_every_file_beside_the_stores_is_lost_once_here(published_eve):
    live = published_eve / ".publications" / str(open_publications(published_eve).current())
    there = {path.name for path in live.iterdir() if path.is_file()}
    assert there - {"manifest.json", "digests.json"} == {*FILES, *BESIDE}


@pytest.mark.parametrize(
    "name", [FILES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in (*FILES[1:], *BESIDE))]
)
def test_a_lost_or_damaged_file_beside_the_stores_stops_the_night_by_name_until_it_is_repaired(name, tables, eve):
    place = (eve / name).resolve()
    whole = place.read_bytes()
    for harm in (None, b"", whole[: len(whole) // 2]):
        place.unlink()
        if harm is not None:
            place.write_bytes(harm)
        with pytest.raises(Damaged, match=f"{name} is .*erm3 repair --root"):
            published_night(eve, known_at(tables, NIGHT))
        assert any(problem.startswith(f"{name} is ") for problem in damage(eve))
        place.write_bytes(whole)
    place.unlink()
    _, left = repair(open_publications(eve))
    assert left == [f"{name} is missing"]
    place.write_bytes(whole)
    assert damage(eve) == []


def of_an_older_version(root: Path, names: tuple[str, ...]) -> None:
    """Take files out of the live publication as if the version that made it did not know them."""
    live = root / ".publications" / str(open_publications(root).current())
    digests = json.loads((live / "digests.json").read_text())["objects"]
    for name in names:
        del digests[name]
        (live / name).unlink()
    manifest = json.loads((live / "manifest.json").read_text())
    stated = {key: value for key, value in manifest.items() if key not in (OF_ITSELF, "digests_sha256")}
    document = digests_document(digests)
    for at in (live, live / ".spare"):
        (at / "digests.json").unlink()
        (at / "digests.json").write_bytes(document)
        (at / "manifest.json").unlink()
        (at / "manifest.json").write_bytes(manifest_document(stated, document))


@pytest.mark.slow
def test_a_root_of_an_older_version_goes_on_and_says_what_is_not_compared(tables, eve, clean):
    of_an_older_version(eve, (*FILES, *(name for name in BESIDE if name.startswith("delivered_"))))
    night = execution.execute(settings_for(eve), NIGHT, NIGHT, until="ds_etf", source=known_at(tables, NIGHT))
    loud = night.findings.loud
    for part in (
        "no table of this delivery",
        "no bar of this delivery",
        "no older close of this delivery",
        "no event of this delivery",
        "no event of the warm-up",
        "the warm-up was read anew",
    ):
        assert sum(line.startswith(part) for line in loud) == 1, loud
    for store in ("ds_daily", "ds_etf"):
        assert differences({store: published(eve)[store]}, {store: published(clean)[store]}) == []
    assert {name: (eve / name).read_bytes() for name in FILES} == {name: (clean / name).read_bytes() for name in FILES}
    night = execution.execute(settings_for(eve), NIGHT, NIGHT, source=known_at(tables, NIGHT))
    assert not any("older version" in line for line in night.findings.loud)
    assert differences(published(eve), published(clean)) == []
    assert damage(eve) == []
