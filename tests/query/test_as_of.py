"""As of a day: what the whole market answers about a day is what a root answered that ended on it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.query import NothingThere, QueryError, QueryFamily, Table, open_family
from pipeline.query.table import plain
from security_master import Span
from tests.engine.conftest import EVE

SAID_OF_THE_PUBLICATION = ("_metadata", "publication")


@pytest.fixture(scope="module")
def ended(published_eve) -> QueryFamily:
    """The root that was published through EVE, with what was known on EVE."""
    return open_family(published_eve)


def told(answer) -> object:
    """An answer without what it says of its publication; an error is an answer too."""
    try:
        found = answer()
    except QueryError as error:
        return type(error).__name__, error.status
    if isinstance(found, Table):
        return plain({**found.columns}), {k: v for k, v in found.attrs.items() if k not in SAID_OF_THE_PUBLICATION}
    return plain(found) if isinstance(found, dict) else found


ANSWERS = {
    "metrics": lambda f, who: f.metrics(who, EVE),
    "decompose": lambda f, who: f.decompose(who, EVE),
    "returns": lambda f, who: f.ticker_returns(who, 2, EVE),
    "l3": lambda f, who: f.l3_decomposition(who, 1, EVE),
    "decomposition": lambda f, who: f.returns_decomposition(who, 1, EVE, include_lstar=True),
    "lstar": lambda f, who: f.lstar(who, 1, 0.02, EVE),
    "ranks": lambda f, who: f.ranks(who, EVE),
    "bridge": lambda f, who: f.return_bridge(who, None, EVE),
    "hedge": lambda f, who: vars(f.portfolio_hedge({who: 1e6}, EVE)),
    "ratios": lambda f, who: f.portfolio_hedge_ratios({who: 1.0}, EVE),
}


def every_ticker(asked: QueryFamily) -> list[Span]:
    with asked.family.directory() as directory:
        return directory.tickers()


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_about_a_day_is_that_of_the_root_that_ended_on_it(name, family, ended):
    tickers = {span.text for asked in (family, ended) for span in every_ticker(asked)}
    asked = 0
    for who in sorted(tickers):
        then, now = (told(lambda f=f, who=who: ANSWERS[name](f, who)) for f in (ended, family))
        assert now == then, who
        asked += isinstance(then, tuple) and not isinstance(then[0], str)
    assert len(tickers) > 60


def test_cross_sections_about_a_day_are_those_of_the_root_that_ended_on_it(family, ended):
    for ask in (
        lambda f: f.industry_panel(EVE, min_peers=1),
        lambda f: f.industry_panel(EVE, min_peers=1, change="1m"),
        lambda f: f.members("uni_mc_3000", EVE),
        lambda f: f.members("uni_mc_50", EVE),
        lambda f: f.etf_returns("all", None, EVE),
        lambda f: f.screen("gross_return", "sector", "21d", EVE, limit=500),
        lambda f: f.screen("mkt_cap", "universe", "1d", EVE, limit=500),
        lambda f: [hit for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for hit in f.search(letter, EVE, 1000)],
    ):
        assert told(lambda ask=ask: ask(family)) == told(lambda ask=ask: ask(ended))


def test_a_security_of_the_future_is_nobody(family):
    spans = every_ticker(family)
    known = {span.sec_id for span in spans if span.valid_from <= EVE}
    later = [span for span in spans if span.sec_id not in known]
    assert later, "this market lists companies after EVE"
    for span in later:
        with pytest.raises(NothingThere):
            family.metrics(span.sec_id, EVE)
        assert span.sec_id not in {member["symbol"] for member in family.members(None, EVE)["members"]}


def test_two_classes_of_one_company_are_two_securities(family, stocks):
    classes = [ticker for ticker in stocks if "." in ticker]
    for ticker in classes:
        spellings = {ticker, ticker.replace(".", "-"), ticker.replace(".", "/").lower(), ticker.replace(".", " ")}
        assert len({family.who(spelling).symbol for spelling in spellings}) == 1
        assert family.who(ticker).symbol != family.who(ticker.partition(".")[0]).symbol


def test_a_planted_row_of_the_future_would_be_seen(family, ended, monkeypatch):
    """The comparison above catches an answer that reads a session too far."""
    on = QueryFamily.on
    monkeypatch.setattr(
        family, "on", lambda as_of=None: on(family, as_of)._replace(session=on(family, as_of).session + 1)
    )
    who = ended.names.ticker(ended.cells("ds_erm3_hedge_weights").symbols[0], EVE)
    assert told(lambda: family.metrics(who, EVE)) != told(lambda: ended.metrics(who, EVE))


def test_nothing_is_never_zero(family, stocks):
    for row in family.ticker_returns(stocks[0]).rows():
        assert all(value is None or value == value for value in row.values())
    assert not any(np.isnan(v) for v in family.metrics(stocks[0])["metrics"].values() if v is not None)
