"""Evidence, ambiguity, decisions and guards: an id is never guessed and never changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from security_master import (
    AmbiguousTicker,
    IdentityDecision,
    IdentityGuard,
    SecurityMaster,
    UnknownQuestion,
    UnknownTicker,
    decide,
)
from security_master.identity import resolve_identities
from security_master.registry import Anchor, Registry, opaque_id
from tests.security_master.tables import build, change, delisting, evening, listing, table

FIGI, OTHER_FIGI = "BBG000000001", "BBG000000002"
ISIN, OTHER_ISIN = "US0000000011", "US0000000029"


def ids(master: SecurityMaster, *listed: tuple[str, str]) -> list[str]:
    return [str(s) for s in master.assign([code for code, _ in listed], [day for _, day in listed])]


def questions(master: SecurityMaster) -> dict[str, str]:
    """Open questions: id to kind."""
    queue = master.queue()
    return dict(zip(queue["question_id"], queue["kind"], strict=True))


def test_an_id_is_opaque_and_made_from_the_first_anchor_alone(tmp_path: Path) -> None:
    master, _ = build(tmp_path / "m.sqlite", securities=[listing("AAPL", "2006-01-03", share_class_figi=FIGI)])
    [sec_id] = ids(master, ("AAPL", "2006-01-03"))
    assert sec_id == opaque_id(Anchor("share_class_figi", FIGI))
    assert "AAPL" not in sec_id


def test_better_evidence_that_arrives_later_does_not_change_the_id(tmp_path: Path) -> None:
    bare = listing("ABC", "2006-01-03")
    later = listing("ABC", "2006-01-03", known="2015-06-01T21:00:00", share_class_figi=FIGI)
    before, _ = build(tmp_path / "a.sqlite", securities=[bare])
    after, _ = build(tmp_path / "b.sqlite", securities=[later, bare])
    assert ids(after, ("ABC", "2006-01-03")) == ids(before, ("ABC", "2006-01-03"))


def test_two_anchors_with_one_hash_get_different_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("security_master.registry.opaque_id", lambda anchor, attempt=0: f"SAAAAAAA{'AB'[attempt]}")
    registry = Registry()
    first = registry.mint(Anchor("isin", ISIN), "2010", "b")
    second = registry.mint(Anchor("isin", OTHER_ISIN), "2011", "b")
    assert (first, second) == ("SAAAAAAAA", "SAAAAAAAB")


AMBIGUOUS: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
    (
        "identifiers_disagree",
        [listing("A", "2006-01-03", "2010-03-31", share_class_figi=FIGI), listing("B", "2006-01-03", isin=ISIN)],
        listing("C", "2010-04-01", share_class_figi=FIGI, isin=ISIN),
    ),
    (
        "identifiers_disagree",
        [
            listing("A", "2006-01-03", "2010-03-31", isin=ISIN),
            listing("B", "2006-01-03", "2010-03-31", cusip="999999999"),
        ],
        listing("C", "2010-04-01", isin=ISIN, cusip="999999999"),
    ),
    (
        "two_codes_one_identifier",
        [listing("GOOGL", "2004-08-19", isin=ISIN)],
        listing("GOOG", "2014-04-03", isin=ISIN),
    ),
    (
        "two_codes_one_identifier",  # one FIGI on two lines that trade side by side
        [listing("GOOGL", "2004-08-19", share_class_figi=FIGI)],
        listing("GOOG", "2014-04-03", share_class_figi=FIGI),
    ),
    (
        "same_claim",  # same code and issuer, after years away
        [listing("ABC", "2006-01-03", "2010-03-31", cik="77", name="Abacus")],
        listing("ABC", "2013-04-01", cik="77", name="Abacus"),
    ),
    (
        "same_claim",  # same code and issuer without a gap, but another ISIN
        [listing("ABC", "2006-01-03", "2010-03-31", cik="77", isin=ISIN)],
        listing("ABC", "2010-04-01", cik="77", isin=OTHER_ISIN),
    ),
    (
        "same_claim",  # the name alone
        [listing("ABC", "2006-01-03", "2010-03-31", name="Abacus Inc.")],
        listing("ABC", "2010-06-01", name="Abacus, Inc"),
    ),
    (
        "same_claim",  # same issuer, listed elsewhere the day after
        [listing("ABC", "2006-01-03", "2010-03-31", cik="77")],
        listing("XYZ", "2010-04-01", cik="77"),
    ),
    (
        "first_session_moved",
        [listing("ABC", "2006-01-03")],
        listing("ABC", "2006-01-05"),
    ),
]


@pytest.mark.parametrize(("kind", "known", "unclear"), AMBIGUOUS, ids=[case[0] for case in AMBIGUOUS])
def test_ambiguous_evidence_is_a_question_and_not_a_guess(
    tmp_path: Path, kind: str, known: list[dict[str, Any]], unclear: dict[str, Any]
) -> None:
    master, report = build(tmp_path / "m.sqlite", securities=[*known, unclear])
    question_id = f"{unclear['vendor_code']}|{unclear['first_session']}"
    assert questions(master)[question_id] == kind
    assert [q.question_id for q in report.open_questions if q.kind == kind] == [question_id]
    assert ids(master, (unclear["vendor_code"], "2016-01-04")) == [""] or kind == "first_session_moved"
    assert len(report.minted) == len(known)


def test_classes_with_different_figis_are_different_though_a_vendor_gives_both_one_isin(tmp_path: Path) -> None:
    rows = [
        listing("GOOGL", "2004-08-19", share_class_figi=FIGI, isin=ISIN),
        listing("GOOG", "2014-04-03", share_class_figi=OTHER_FIGI, isin=ISIN),
    ]
    master, _ = build(tmp_path / "m.sqlite", securities=rows)
    assert len(set(ids(master, ("GOOGL", "2015-01-02"), ("GOOG", "2015-01-02")))) == 2
    assert questions(master) == {f"cusip:{ISIN[2:11]}": "identifier_shared", f"isin:{ISIN}": "identifier_shared"}


def test_a_ticker_change_that_fits_two_companies_is_a_question(tmp_path: Path) -> None:
    master, _ = build(
        tmp_path / "m.sqlite",
        securities=[
            listing("A1", "2006-01-03", "2010-03-31", ticker="OLD", exchange="NYSE"),
            listing("A2", "2006-01-03", "2010-03-31", ticker="OLD", exchange="OTC"),
            listing("B", "2010-04-01", ticker="NEW"),
        ],
        ticker_changes=[change("B", "2010-04-01", "OLD", "NEW")],
    )
    assert questions(master) == {"B|2010-04-01": "ticker_change_unclear"}


def unclear_return(tmp_path: Path) -> Path:
    """A master in which ABC leaves in 2010 and something with its name and issuer lists in 2013."""
    path = tmp_path / "m.sqlite"
    rows = [
        listing("ABC", "2006-01-03", "2010-03-31", cik="77", name="Abacus"),
        listing("ABC", "2013-04-01", cik="77", name="Abacus"),
    ]
    build(path, securities=rows)[0].close()
    return path


def test_what_is_hashed_of_a_decision_is_what_earlier_builds_hashed() -> None:
    answer = IdentityDecision("ABC|2013-04-01", "new", "", "jane", "old equity", "2013-05-01T12:00:00Z", "any batch")
    assert answer.content == (
        "Decision(question_id='ABC|2013-04-01', choice='new', sec_id='', decided_by='jane', reason='old equity', "
        "known_from='2013-05-01T12:00:00Z', batch_id='')"
    )


def test_a_decision_that_it_is_the_same_claim_gives_the_listing_the_old_id(tmp_path: Path) -> None:
    path = unclear_return(tmp_path)
    with SecurityMaster.open(path) as before:
        [old, none] = ids(before, ("ABC", "2010-03-31"), ("ABC", "2013-04-01"))
    assert none == ""
    answer = IdentityDecision(
        "ABC|2013-04-01", "same", old, "jane", "same CUSIP in the prospectus", "2013-05-01T12:00:00Z"
    )
    report = decide(path, answer, batch_id="decision-1")
    assert report.open_questions == ()
    with SecurityMaster.open(path) as after:
        assert ids(after, ("ABC", "2010-03-31"), ("ABC", "2013-04-01")) == [old, old]
        assert after.queue().empty
        assert after.queue(known_as_of="2013-04-15T00:00:00Z")["question_id"].tolist() == ["ABC|2013-04-01"]
        # a decision is known from its instant on, like any other fact
        assert after.resolve("ABC", "2013-04-02", known_as_of="2013-04-15T00:00:00Z") is None
        assert after.resolve("ABC", "2013-04-02", known_as_of="2013-05-02T00:00:00Z") == old


def test_a_decision_that_it_is_new_mints_an_id_that_stays(tmp_path: Path) -> None:
    path = unclear_return(tmp_path)
    answer = IdentityDecision("ABC|2013-04-01", "new", "", "jane", "old equity was cancelled", "2013-05-01T12:00:00Z")
    assert len(decide(path, answer, batch_id="decision-1").minted) == 1
    with SecurityMaster.open(path) as master:
        old, new = ids(master, ("ABC", "2010-03-31"), ("ABC", "2013-04-01"))
    assert old != new
    rows = [
        listing("ABC", "2006-01-03", "2010-03-31", cik="77", name="Abacus"),
        listing("ABC", "2013-04-01", cik="77", name="Abacus"),
    ]
    again, report = build(tmp_path / "n.sqlite", batch_id="next", previous=path, securities=rows)
    assert report.minted == ()
    assert ids(again, ("ABC", "2010-03-31"), ("ABC", "2013-04-01")) == [old, new]


def test_an_ignored_listing_is_no_longer_asked_about_and_has_no_security(tmp_path: Path) -> None:
    path = unclear_return(tmp_path)
    decide(path, IdentityDecision("ABC|2013-04-01", "ignore", "", "jane", "", "2013-05-01T12:00:00Z"), batch_id="d")
    with SecurityMaster.open(path) as master:
        assert master.queue().empty
        assert ids(master, ("ABC", "2013-04-01")) == [""]


def test_deciding_the_same_again_changes_nothing(tmp_path: Path) -> None:
    path = unclear_return(tmp_path)
    answer = IdentityDecision("ABC|2013-04-01", "new", "", "jane", "", "2013-05-01T12:00:00Z")
    first = decide(path, answer, batch_id="d1")
    assert decide(path, answer, batch_id="d2").build_id == first.build_id


@pytest.mark.parametrize(
    "wrong",
    [
        IdentityDecision("XYZ|2013-04-01", "new", "", "jane", "", "2013-05-01T12:00:00Z"),
        IdentityDecision("ABC|2013-04-01", "same", "SAAAAAAAA", "jane", "", "2013-05-01T12:00:00Z"),
    ],
)
def test_a_decision_about_nothing_is_refused(tmp_path: Path, wrong: IdentityDecision) -> None:
    path = unclear_return(tmp_path)
    with pytest.raises(UnknownQuestion):
        decide(path, wrong, batch_id="d")


def test_later_evidence_settles_an_open_question(tmp_path: Path) -> None:
    rows = [
        listing("OLD", "2006-01-03", isin=ISIN),
        listing("NEW", "2010-04-01", isin=ISIN),
        listing("OLD", "2006-01-03", "2010-03-31", isin=ISIN, known="2010-04-09T21:00:00"),
    ]
    master, report = build(tmp_path / "m.sqlite", securities=rows)
    assert report.open_questions == ()
    old, new = ids(master, ("OLD", "2010-03-31"), ("NEW", "2010-04-01"))
    assert old == new
    with pytest.raises(UnknownTicker):
        master.resolve("NEW", "2010-04-05", known_as_of="2010-04-06T00:00:00Z")
    assert master.queue(known_as_of="2010-04-06T00:00:00Z")["kind"].tolist() == ["two_codes_one_identifier"]


def test_a_ticker_change_known_too_late_leaves_both_ids_and_asks(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    late = change("FB", "2022-06-09", "FB", "META", known="2022-07-01T10:00:00")
    master, _ = build(
        path,
        securities=[listing("FB", "2012-05-18", "2022-06-08"), listing("META", "2022-06-09")],
        ticker_changes=[late],
    )
    before, after = ids(master, ("FB", "2022-06-08"), ("META", "2022-06-09"))
    assert before != after
    question = "link:FB|2012-05-18->META|2022-06-09"
    assert questions(master) == {question: "late_ticker_change"}
    master.close()
    decide(
        path, IdentityDecision(question, "same", before, "jane", "press release", "2022-07-02T10:00:00Z"), batch_id="d"
    )
    with SecurityMaster.open(path) as decided:
        assert ids(decided, ("FB", "2022-06-08"), ("META", "2022-06-09")) == [before, after]
        edge = decided.lineage(before).iloc[0]
        assert (edge["event"], edge["from_sec_id"], edge["to_sec_id"]) == ("same_claim", before, after)


# -- tickers ------------------------------------------------------------------------------------------------------


def contested(tmp_path: Path) -> Path:
    """Two securities whose rows claim ABC from 2012 to 2014."""
    path = tmp_path / "m.sqlite"
    rows = [
        listing("A", "2006-01-03", "2013-12-31", ticker="ABC", name="First"),
        listing("B", "2012-01-03", ticker="ABC", name="Second"),
    ]
    build(path, securities=rows)[0].close()
    return path


def test_a_ticker_claimed_twice_belongs_to_nobody_until_it_is_decided(tmp_path: Path) -> None:
    path = contested(tmp_path)
    with SecurityMaster.open(path) as master:
        first, second = ids(master, ("A", "2012-06-01"), ("B", "2012-06-01"))
        assert master.resolve("ABC", "2011-12-30") == first
        assert master.resolve("ABC", "2014-01-02") == second
        with pytest.raises(AmbiguousTicker, match="both claim it") as caught:
            master.resolve("ABC", "2012-06-01")
        assert set(caught.value.candidates) == {first, second}
        [question] = questions(master)
    decide(
        path,
        IdentityDecision(question, "same", second, "jane", "exchange notice", "2014-02-01T00:00:00Z"),
        batch_id="d",
    )
    with SecurityMaster.open(path) as master:
        assert master.resolve("ABC", "2012-06-01") == second
        with pytest.raises(AmbiguousTicker):
            master.resolve("ABC", "2012-06-01", known_as_of="2014-01-15T00:00:00Z")


def test_a_listing_without_an_end_gives_its_ticker_to_a_later_listing(tmp_path: Path) -> None:
    rows = [listing("A", "2006-01-03", ticker="ABC"), listing("B", "2012-01-03", ticker="ABC")]
    master, _ = build(tmp_path / "m.sqlite", securities=rows)
    first, second = ids(master, ("A", "2012-06-01"), ("B", "2012-06-01"))
    assert [master.resolve("ABC", day) for day in ("2012-01-02", "2012-01-03")] == [first, second]
    assert questions(master) == {}


# -- guards -------------------------------------------------------------------------------------------------------


def hundred(**changed: Any) -> list[dict[str, Any]]:
    return [listing(f"C{i:03d}", "2006-01-03", isin=f"US{i:09d}0") for i in range(100)]


def test_a_delivery_without_two_percent_of_the_known_ids_stops(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    build(path, securities=hundred())[0].close()
    content = path.read_bytes()
    with pytest.raises(IdentityGuard, match="2 of 100 known securities") as caught:
        build(path, batch_id="next", previous=path, securities=hundred()[2:])
    assert len(caught.value.report.lost) == 2
    for k, sec_id in enumerate(caught.value.report.lost):
        assert sec_id in str(caught.value)
        assert f"C00{k}" in str(caught.value)
    assert ", since 2006-01-03, " in str(caught.value)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_delivery_without_one_percent_of_the_known_ids_is_reported_and_loses_none(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    before, _ = build(path, securities=hundred())
    after, report = build(tmp_path / "n.sqlite", batch_id="next", previous=path, securities=hundred()[1:])
    assert report.lost == tuple(ids(before, ("C000", "2006-01-03")))
    assert ids(after, ("C000", "2006-01-03")) == list(report.lost)


@pytest.mark.parametrize("told", ["by their rows", "by delistings"])
def test_half_of_all_known_names_may_leave_at_once_when_they_have_ended(tmp_path: Path, told: str) -> None:
    path, gone = tmp_path / "m.sqlite", 50
    ended = {"last_session": "2010-03-31"} if told == "by their rows" else {}
    rows = [row | (ended if k < gone else {}) for k, row in enumerate(hundred())]
    facts = [delisting(f"C{k:03d}", "2010-03-31", "merger") for k in range(gone)] if not ended else []
    before, _ = build(path, securities=rows, delistings=facts)
    after, report = build(tmp_path / "n.sqlite", batch_id="next", previous=path, securities=rows[gone:])
    assert (report.lost, len(report.left)) == ((), gone)
    assert ids(after, ("C007", "2009-06-01")) == ids(before, ("C007", "2009-06-01"))


def test_a_few_of_the_dead_leave_each_year_and_no_sum_of_them_ever_stops_a_delivery(tmp_path: Path) -> None:
    rows, path = hundred(), tmp_path / "0.sqlite"
    build(path, securities=rows)[0].close()
    for year in range(1, 6):
        kept = rows[15 * (year - 1) :]
        told = [row | {"last_session": f"{2006 + year}-06-29"} for row in kept[:15]] + kept[15:]
        for name, delivered in ((f"{year}", told), (f"{year}b", kept[15:])):
            later = tmp_path / f"{name}.sqlite"
            master, report = build(later, batch_id=name, previous=path, securities=delivered)
            master.close()
            assert report.lost == ()
            path = later
    assert len(report.left) == 75


def test_the_living_are_missed_among_however_many_dead(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    rows = [row | ({"last_session": "2010-03-31"} if k < 50 else {}) for k, row in enumerate(hundred())]
    build(path, securities=rows)[0].close()
    with pytest.raises(IdentityGuard, match="2 of 100 known securities") as caught:
        build(tmp_path / "n.sqlite", batch_id="next", previous=path, securities=rows[52:])
    assert "C050" in str(caught.value)
    assert "C049" not in str(caught.value)


def test_an_empty_list_of_securities_stops(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    build(path, securities=hundred())[0].close()
    with pytest.raises(IdentityGuard, match="100 of 100"):
        build(path, batch_id="next", previous=path, securities=table("securities", *hundred()).iloc[:0])


def test_a_delivery_of_other_tables_alone_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    build(path, securities=hundred())[0].close()
    more = [delisting("C001", "2010-03-31", "merger")]
    _, report = build(tmp_path / "n.sqlite", batch_id="next", previous=path, delistings=more)
    assert report.lost == ()
    assert report.new_rows == {"delistings": 1}


def test_swapped_identifiers_would_change_known_ids_and_stop(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    rows = [listing("A", "2006-01-03", share_class_figi=FIGI), listing("B", "2006-01-03", share_class_figi=OTHER_FIGI)]
    build(path, securities=rows)[0].close()
    content = path.read_bytes()
    later = "2012-01-03T21:00:00"
    swapped = [
        listing("A", "2006-01-03", share_class_figi=OTHER_FIGI, known=later),
        listing("B", "2006-01-03", share_class_figi=FIGI, known=later),
    ]
    with pytest.raises(IdentityGuard, match="would change 2 known ids") as caught:
        build(path, batch_id="next", previous=path, securities=swapped)
    assert {q.kind for q in caught.value.report.moved} == {"identifier_moved"}
    assert str(caught.value).count(", since 2006-01-03, ") == 4, "both securities of both contradictions by name"
    assert "--keep-ids" in str(caught.value)
    assert path.read_bytes() == content


def test_swapped_identifiers_stop_also_when_the_rows_are_revised_in_place(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    rows = [listing("A", "2006-01-03", share_class_figi=FIGI), listing("B", "2006-01-03", share_class_figi=OTHER_FIGI)]
    build(path, securities=rows)[0].close()
    swapped = [
        listing("A", "2006-01-03", share_class_figi=OTHER_FIGI),
        listing("B", "2006-01-03", share_class_figi=FIGI),
    ]
    with pytest.raises(IdentityGuard, match="would change 2 known ids"):
        build(path, batch_id="next", previous=path, securities=swapped)


def test_a_build_that_forgets_the_registry_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault: ids made anew from the evidence of today, as a change of the id scheme would make them."""
    path = tmp_path / "m.sqlite"
    build(path, securities=[listing("A", "2006-01-03")])[0].close()
    monkeypatch.setattr(
        "security_master.build.resolve_identities",
        lambda listings, decisions, *rest: resolve_identities(listings, decisions, None),
    )
    enriched = [listing("A", "2006-01-03", share_class_figi=FIGI)]
    with pytest.raises(IdentityGuard, match="would get another id") as caught:
        build(path, batch_id="next", previous=path, securities=enriched)
    assert caught.value.report.changed == ("A|2006-01-03",)


def test_with_keep_ids_the_registry_stands_and_the_contradiction_is_queued(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    rows = [listing("A", "2006-01-03", share_class_figi=FIGI), listing("B", "2006-01-03", share_class_figi=OTHER_FIGI)]
    before, _ = build(path, securities=rows)
    wrong = listing("A", "2006-01-03", share_class_figi=OTHER_FIGI, known="2012-01-03T21:00:00")
    after, _ = build(tmp_path / "n.sqlite", batch_id="next", previous=path, keep_ids=True, securities=[wrong, rows[1]])
    listed = (("A", "2012-06-01"), ("B", "2012-06-01"))
    assert ids(after, *listed) == ids(before, *listed)
    assert "identifier_moved" in questions(after).values()


def test_a_revised_row_keeps_its_id_and_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    before, _ = build(path, securities=[listing("A", "2006-01-03", name="Abacus")])
    revised = [listing("A", "2006-01-03", name="Abacus plc", share_class_figi=FIGI)]
    after, report = build(tmp_path / "n.sqlite", batch_id="next", previous=path, securities=revised)
    assert ids(after, ("A", "2006-01-03")) == ids(before, ("A", "2006-01-03"))
    [revision] = report.revisions
    assert revision.table == "securities"
    assert '"Abacus"' in revision.was


def test_a_master_keeps_every_id_it_ever_gave(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    _, first = build(path, securities=hundred())
    new = [listing("NEW", "2010-01-04", known=evening("2010-01-04"))]
    _, second = build(tmp_path / "n.sqlite", batch_id="next", previous=path, securities=[*hundred(), *new])
    with SecurityMaster.open(tmp_path / "n.sqlite") as master:
        held = set(master.roster()["sec_id"])
    assert held == set(first.minted) | set(second.minted)
    assert len(second.minted) == 1
