"""Facts about listings: which code, exchange, ticker and identifiers a security had, when, as known when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from security_master.bitemporal import Known, believed
from security_master.contests import uncontested, unshared
from security_master.identity import Identities
from security_master.listings import Episode, Listings
from security_master.questions import IdentityDecision, Question
from security_master.spans import Identifier, Listing, SecurityView, TickerSpan


class ListingFacts(NamedTuple):
    listings: list[Known[Listing]]
    tickers: list[Known[TickerSpan]]
    identifiers: list[Known[Identifier]]
    questions: list[Question]


def listing_facts(listings: Listings, identities: Identities, decisions: Iterable[IdentityDecision]) -> ListingFacts:
    """Listing, ticker and identifier facts of every security, and the tickers that two securities claim at once."""
    of_security: dict[str, list[Episode]] = defaultdict(list)
    for key, assigned in identities.assigned.items():
        of_security[assigned.sec_id].append(listings.episodes[key])
    rows: list[Known[Listing]] = []
    claims: list[Known[TickerSpan]] = []
    identifiers: list[Known[Identifier]] = []
    for sec_id in sorted(of_security):
        view = SecurityView(sec_id, of_security[sec_id], listings, identities)
        instants = view.instants()
        rows += believed(instants, view.listings)
        claims += believed(instants, view.tickers)
        identifiers += believed(instants, view.identifiers)
    decided = list(decisions)
    tickers, questions = uncontested(claims, decided)
    shared, more = unshared(identifiers, decided)
    return ListingFacts(rows, tickers, shared, questions + more)
