"""Who had a name on a day: what the security master says, without what is dated later."""

from __future__ import annotations

import pytest

from pipeline.query.errors import BadQuestion, NothingThere, SeveralAnswers
from pipeline.query.names import Names
from security_master import AmbiguousTicker, UnknownTicker
from tests.security_master.conftest import world, world_master, world_path  # noqa: F401 (fixtures)

DAYS = ("2006-01-03", "2010-01-04", "2012-06-01", "2015-03-02", "2019-07-01", "2022-06-08", "2022-06-09", "2024-01-02")


@pytest.fixture(scope="module")
def names(world_master) -> Names:  # noqa: F811
    return Names(world_master)


def test_every_ticker_on_every_day_means_what_the_master_says(names, world_master):  # noqa: F811
    asked = 0
    for ticker in {span.text for span in world_master.tickers()}:
        for day in DAYS:
            try:
                expected = world_master.resolve(ticker, day)
            except (AmbiguousTicker, UnknownTicker) as error:
                expected = type(error)
            try:
                found = names.resolve(ticker.lower().replace(".", "-"), day)
            except SeveralAnswers:
                found = AmbiguousTicker
            except NothingThere:
                found = None
            assert found == expected, f"{ticker} on {day}"
            asked += 1
    assert asked > 100


def test_a_renamed_company_keeps_its_id_and_a_recycled_ticker_changes_hands(names, world_master):  # noqa: F811
    holders = {}
    for span in world_master.tickers():
        holders.setdefault(span.text, []).append(span)
    recycled = [spans for spans in holders.values() if len({s.sec_id for s in spans}) > 1]
    assert recycled
    for spans in recycled:
        for number, symbol in enumerate(dict.fromkeys(span.sec_id for span in spans), 1):
            assert names.resolve(f"{spans[0].text}#{number}", "2099-01-01") == symbol


def test_nobody_of_the_future_is_named_as_a_candidate(names, world_master):  # noqa: F811
    firsts = {span.text: span for span in reversed(world_master.tickers())}.values()
    for span in firsts:
        if span.valid_from > "2006-01-01":
            before = str(int(span.valid_from[:4]) - 1) + "-01-01"
            known = {s.text for s in world_master.tickers() if s.valid_from <= before}
            with pytest.raises(NothingThere) as caught:
                names.resolve(span.text, before)
            assert {c.partition("#")[0] for c in caught.value.details["candidates"]} <= known
            assert all(found.ticker in known for found in names.search(span.text, before))


@pytest.mark.parametrize(
    "text", ["", " ", "../etc", "A" * 30, "A;B", "A\n", "Ä", "A#0", "A%00", "<b>", "\x00", "A#99999"]
)
def test_what_cannot_be_a_name_is_refused_by_its_look(names, text):
    with pytest.raises(BadQuestion):
        names.resolve(text if text != "A\n" else "A\nB", "2020-01-01")


def test_a_search_finds_the_ticker_first_then_names(names, world_master):  # noqa: F811
    span = next(s for s in world_master.tickers() if s.kind == "regular" and s.valid_to == "9999-12-31")
    assert names.search(span.text, "2024-01-01")[0].ticker == span.text
    name = names.name(span.sec_id, "2024-01-01")
    assert span.sec_id in {found.symbol for found in names.search(name[:8], "2024-01-01", limit=100)}


def test_a_label_is_one_security_and_that_of_the_master(names, world_master):  # noqa: F811
    ids = sorted({span.sec_id for span in world_master.tickers()})
    for day in DAYS:
        told = names.labels(ids, day)
        assert [label or "" for label in told] == world_master.labels(ids, day)[1].tolist()
        known = [label for label in told if label is not None]
        assert len(set(known)) == len(known), "two securities of one ticker have two labels"
    assert any("#" in label for label in known)
