"""Who lives in the simulated market: companies, when they list and die, what they are called.

Slot k holds one company from the first session on, and companies that list later, one after the other. Everything
about a company is drawn from streams that carry its own key, so a slot more, or a longer horizon, changes nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from pipeline.calendar import xnys
from pipeline.sources.simulated.cast import CAST, Role
from pipeline.sources.simulated.factors import SESSIONS_A_YEAR
from pipeline.sources.simulated.industries import INDUSTRY_CODES
from pipeline.sources.simulated.streams import stream

LISTING_RATE = {2020: 0.09, 2021: 0.11}
USUAL_LISTING_RATE = 0.06
DELISTING_RATE = 0.07
RENAMING_RATE = 0.025
RECLASSIFICATION_RATE = 0.015
PAYERS = 0.45
MEDIAN_MARKET_CAP = 2e9
MARKET_CAP_SD = 1.9
NEVER = 10**9
"""Ordinal of what does not happen."""

MAX_SLOTS = 9_000


@dataclass(frozen=True)
class Company:
    """One security and what will happen to it. Sessions are calendar ordinals, NEVER for what does not happen.

    key: `slot.generation`; start, last: first and last session; end: how it ends (a reason of the delistings, with
    `merger` split in `cash_merger` and `stock_merger`); size: its market cap at the start, in standard deviations;
    vol: annual volatility of its own part; growth: of the share count, a year; pays: regular yield a year, 0 for none.
    """

    key: str
    slot: int
    generation: int
    start: int
    last: int
    end: str
    ticker: str
    vendor_code: str
    sec_type: str
    exchange: str
    industry: str
    betas: tuple[float, float, float]
    vol: float
    size: float
    price: float
    shares: float
    growth: float
    pays: float
    pay_phase: int
    split_above: float
    split_to: float
    renamed_at: int
    new_ticker: str
    reclassified_at: int
    new_industry: str
    role: Role

    @property
    def number(self) -> int:
        """A number of its own, for identifiers."""
        return self.slot * 1000 + self.generation

    @property
    def cik(self) -> str:
        return f"{self.number + 1_000_000:010d}"

    @property
    def share_class_figi(self) -> str:
        return f"BBG{self.number:09d}"

    def ticker_on(self, session: int) -> str:
        return self.new_ticker if session >= self.renamed_at else self.ticker


def companies_of_slot(seed: int, slot: int, first: int, last: int) -> list[Company]:
    """The companies of one slot that list in the sessions first..last, in order of listing."""
    if slot >= MAX_SLOTS:
        raise ValueError(f"slot {slot}: the simulated market has tickers for {MAX_SLOTS} slots")
    role = CAST.get(slot, Role())
    companies = [_company(seed, slot, 0, first, first, role)]
    starts = [first + offset for offset in role.later_listings]
    starts += _listing_sessions(stream(seed, "listings", str(slot)), first, last)
    for generation, start in enumerate(sorted(starts), start=1):
        if start > last:
            break
        heir = Role() if first + role.recycled_at != start else Role(takes_ticker=True, shares_code=role.shares_code)
        company = _company(seed, slot, generation, start, first, heir)
        companies.append(_with_old_ticker(seed, company, companies))
    return companies


def _company(seed: int, slot: int, generation: int, start: int, first: int, role: Role) -> Company:
    key = f"{slot}.{generation}"
    rng = stream(seed, "company", key)
    size = rng.standard_normal()
    betas = (
        float(np.clip(rng.normal(1.10, 0.36), 0.05, 3.0)),
        float(rng.normal(0.85, 0.40)),
        float(rng.normal(0.80, 0.45)),
    )
    vol = float(np.clip(0.29 * np.exp(-0.26 * size + 0.30 * rng.standard_normal()), 0.12, 1.6))
    price = float(np.round(np.clip(28 * np.exp(0.35 * size + 0.55 * rng.standard_normal()), 1.5, 400), 2))
    market_cap = MEDIAN_MARKET_CAP * np.exp(MARKET_CAP_SD * (size if generation == 0 else 0.6 * size - 0.3))
    growth = float(rng.normal(0.02, 0.03))
    pays = float(rng.uniform(0.005, 0.04)) if rng.random() < PAYERS else 0.0
    phase = int(rng.integers(63))
    split_above = float(rng.uniform(110, 260)) if rng.random() < 0.7 else np.inf
    split_to = float(rng.uniform(25, 70))
    exchange = "NYSE" if rng.random() < 0.45 else "NASDAQ"
    industry = INDUSTRY_CODES[slot % len(INDUSTRY_CODES)] if generation == 0 else str(rng.choice(INDUSTRY_CODES))
    last = start + 130 + int(rng.exponential(SESSIONS_A_YEAR / DELISTING_RATE))
    end = _ending(rng)
    renamed_at = start + 30 + int(rng.exponential(SESSIONS_A_YEAR / RENAMING_RATE))
    reclassified_at = start + 20 + int(rng.exponential(SESSIONS_A_YEAR / RECLASSIFICATION_RATE))
    new_industry = str(rng.choice([code for code in INDUSTRY_CODES if code != industry]))
    ticker, new_ticker = _tickers(slot, generation)
    company = Company(
        key=key, slot=slot, generation=generation, start=start, last=last, end=end, ticker=ticker, vendor_code=ticker,
        sec_type="reit" if industry in ("6010", "6020") else "common", exchange=exchange, industry=industry,
        betas=betas, vol=vol, size=float(size), price=price, shares=float(np.round(market_cap / price, -3)),
        growth=growth, pays=pays, pay_phase=phase, split_above=split_above, split_to=split_to, renamed_at=renamed_at,
        new_ticker=new_ticker, reclassified_at=reclassified_at, new_industry=new_industry, role=role,
    )  # fmt: skip
    company = _play(company, role, first)
    if company.renamed_at >= company.last - 20:
        company = replace(company, renamed_at=NEVER)
    if company.reclassified_at >= company.last - 20:
        company = replace(company, reclassified_at=NEVER)
    return company


def _play(company: Company, role: Role, first: int) -> Company:
    """The company with what its role in the cast prescribes; offsets count from the first session of the market."""
    changes = dict(role.traits)
    if role.lives_on:
        changes["last"] = NEVER
    if role.ends_at is not None:
        changes |= {"last": first + role.ends_at, "end": role.end}
    if role.renamed_at is not None:
        changes["renamed_at"] = first + role.renamed_at
    if role.reclassified_at is not None:
        changes["reclassified_at"] = first + role.reclassified_at
    if "ticker" in changes:
        changes["vendor_code"] = changes["ticker"]
    return replace(company, **changes)


def _with_old_ticker(seed: int, company: Company, before: list[Company]) -> Company:
    """Sometimes a newcomer takes the ticker, and even the vendor code, of the dead company before it."""
    previous = before[-1]
    if previous.last >= company.start:
        return company
    rng = stream(seed, "recycling", company.key)
    takes, shares_code = rng.random() < 0.05, rng.random() < 0.5
    if not (company.role.takes_ticker or takes):
        return company
    ticker = previous.ticker_on(previous.last)
    same_code = company.role.shares_code if company.role.takes_ticker else shares_code
    return replace(company, ticker=ticker, vendor_code=previous.vendor_code if same_code else company.vendor_code)


def _listing_sessions(rng: Generator, first: int, last: int) -> list[int]:
    """Sessions of later listings: a Poisson process whose rate depends on the year, by thinning."""
    top = max(LISTING_RATE.values())
    sessions: list[int] = []
    at = float(first)
    years = xnys().sessions.astype("datetime64[Y]").astype(int) + 1970
    while True:
        at += rng.exponential(SESSIONS_A_YEAR / top)
        accepted = rng.random() * top
        session = int(at) + 1
        if session > last:
            return sessions
        if accepted < LISTING_RATE.get(int(years[session]), USUAL_LISTING_RATE):
            sessions.append(session)


def _ending(rng: Generator) -> str:
    endings = ("cash_merger", "stock_merger", "exchange_drop", "bankruptcy", "liquidation", "voluntary")
    return str(rng.choice(endings, p=(0.45, 0.25, 0.15, 0.05, 0.05, 0.05)))


def _tickers(slot: int, generation: int) -> tuple[str, str]:
    """(ticker at listing, ticker after a change), unlike any other company's and any ETF's.

    Consonant and vowel take turns; a slot's number is spread over all combinations, and a later listing adds a letter.
    """
    consonants, vowels = "BCDFGHJKLMNPQRSTVWXZ", "AEIOU"
    spread = (slot * 7919 + 4321) % 10_000
    c1, v1 = consonants[spread % 20], vowels[spread // 20 % 5]
    c2, v2 = consonants[spread // 100 % 20], vowels[spread // 2000]
    suffix = "" if generation == 0 else chr(64 + (generation - 1) % 26 + 1) + ("Z" * ((generation - 1) // 26))
    ticker = c1 + v1 + c2 + v2 + suffix
    if ticker == "PAVE":
        ticker += "Q"
    return ticker, v1 + c1 + v2 + c2 + suffix
