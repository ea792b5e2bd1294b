"""Who lives in the simulated market: companies, when they list and die, what they are called.

Slot k holds one company from the first session on, and companies that list later. Everything about a company is drawn
from streams that carry its own key, so a slot more, or a longer horizon, changes nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.random import Generator

from pipeline.calendar import xnys
from pipeline.sources.simulated.cast import CAST, Role
from pipeline.sources.simulated.factors import SESSIONS_A_YEAR
from pipeline.sources.simulated.identifiers import CLASS_B, SPUN_OFF, tickers
from pipeline.sources.simulated.industries import INDUSTRY_CODES
from pipeline.sources.streams import stream

LISTINGS_A_YEAR = {2020: 0.09, 2021: 0.11}
USUAL_LISTINGS_A_YEAR = 0.06
DELISTINGS_A_YEAR = 0.07
RENAMINGS_A_YEAR = 0.025
RECLASSIFICATIONS_A_YEAR = 0.015
SPIN_OFFS_A_YEAR = 0.003
HALTS_A_YEAR = 0.001
QUARTER = 63
"""Sessions between two regular dividends, and between two results days."""
PAYERS = 0.45
FOREIGN_PAYERS = 0.02
DUAL_CLASS = 0.01
TAKEN_TICKERS = 0.05
MEDIAN_MARKET_CAP = 2e9
MARKET_CAP_SD = 1.9
QUIET_SIZE = -1.3
"""Companies smaller than this many standard deviations have days without a trade."""
NEVER = 10**9
"""Ordinal of what does not happen."""
BREATH = 20
"""What a company does keeps this many sessions away from its first and its last one."""

_ENDINGS = {
    "cash_merger": 0.45,
    "stock_merger": 0.25,
    "exchange_drop": 0.15,
    "bankruptcy": 0.05,
    "liquidation": 0.05,
    "voluntary": 0.05,
}


@dataclass(frozen=True)
class Company:
    """One security and what will happen to it. Sessions are calendar ordinals, NEVER for what does not happen.

    start, last: first and last session; end: how it ends (a reason of `delistings`, `merger` being either of two);
    ticker: the one at the listing; renamings: (session, new ticker); code_moves_at: the vendor's code becomes the new
    ticker; betas: on market, sector, subsector; vol: annual, of the part that no factor explains; size: market cap at
    the start, in standard deviations; price, shares: at the start; growth: of the share count, a year; pays: regular
    yield a year; currency: of its dividends; quiet_days: share of the sessions without a trade; spin_off: (session,
    share of the value that leaves, children per share); halts: (first session, sessions); splits, specials, jumps by
    session, as in the cast.
    """

    slot: int
    generation: int
    start: int
    last: int
    end: str
    ticker: str
    vendor_code: str
    new_ticker: str
    industry: str
    new_industry: str
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
    exchange: str
    sec_type: str = "common"
    currency: str = "USD"
    dual_class: bool = False
    quiet_days: float = 0.0
    reclassified_at: int = NEVER
    renamings: tuple[tuple[int, str], ...] = ()
    code_moves_at: int = NEVER
    redomiciled_at: int = NEVER
    spin_off: tuple[int, float, float] = (NEVER, 0.0, 0.0)
    halts: tuple[tuple[int, int], ...] = ()
    splits: dict[int, tuple[int, int]] = field(default_factory=dict)
    specials: dict[int, float] = field(default_factory=dict)
    jumps: dict[int, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.slot}.{self.generation}"

    @property
    def number(self) -> int:
        """A number of its own, for identifiers."""
        return self.slot * 1000 + self.generation

    @property
    def issuer(self) -> int:
        """The number of the issuer: two classes have one."""
        return self.number - CLASS_B if CLASS_B <= self.generation < SPUN_OFF else self.number

    def ticker_on(self, session: int) -> str:
        names = [name for at, name in self.renamings if at <= session]
        return names[-1] if names else self.ticker

    def code_on(self, session: int) -> str:
        return self.new_ticker if session >= self.code_moves_at else self.vendor_code


def companies_of_slot(seed: int, slot: int, first: int, last: int) -> list[Company]:
    """The companies of one slot that list in the sessions first..last on their own, in order of listing."""
    role = CAST.get(slot, Role())
    companies = [_play(_company(seed, slot, 0, first), role, first)]
    starts = [first + offset for offset in role.later_listings]
    starts += _listing_sessions(stream(seed, "listings", str(slot)), first, last)
    for generation, start in enumerate(sorted(starts), start=1):
        if start > last:
            break
        company = _company(seed, slot, generation, start)
        heir = role.heir_at is not None and start == first + role.heir_at
        companies.append(_named_after(seed, company, companies[-1], role if heir else None))
    return [_settled(company) for company in companies]


def second_class(seed: int, first_class: Company) -> Company:
    """The class B of a company: the same issuer, business and life, its own price and share count."""
    rng = stream(seed, "class B", first_class.key)
    generation = CLASS_B + first_class.generation
    ticker, new_ticker = tickers(first_class.slot, generation)
    return replace(
        first_class,
        generation=generation,
        ticker=ticker,
        new_ticker=new_ticker,
        vendor_code=ticker,
        price=float(np.round(first_class.price * rng.uniform(0.6, 0.95), 2)),
        shares=float(np.round(first_class.shares * rng.uniform(0.1, 0.5), -3)),
        end="cash_merger" if first_class.end == "stock_merger" else first_class.end,
        dual_class=False,
        renamings=(),
        code_moves_at=NEVER,
        spin_off=(NEVER, 0.0, 0.0),
    )


def spun_off_company(seed: int, parent: Company, value: float, parent_shares: float) -> Company:
    """The company that `parent` spins off. value: dollars per parent share; parent_shares: how many there are."""
    session, _, ratio = parent.spin_off
    child = _company(seed, parent.slot, SPUN_OFF + parent.generation, session)
    stays = stream(seed, "spin-off industry", parent.key).random() < 0.6
    return _settled(
        replace(
            child,
            price=value / ratio,
            shares=float(np.round(parent_shares * ratio, -3)),
            industry=parent.industry if stays else child.industry,
            dual_class=False,
            spin_off=(NEVER, 0.0, 0.0),
        )
    )


def _company(seed: int, slot: int, generation: int, start: int) -> Company:
    rng = stream(seed, "company", f"{slot}.{generation}")
    ticker, new_ticker = tickers(slot, generation)
    size = float(rng.standard_normal())
    betas = (
        float(np.clip(rng.normal(1.10, 0.36), 0.05, 3.0)),
        float(rng.normal(0.85, 0.40)),
        float(rng.normal(0.80, 0.45)),
    )
    vol = float(np.clip(0.29 * np.exp(-0.26 * size + 0.30 * rng.standard_normal()), 0.12, 1.6))
    price = float(np.round(np.clip(28 * np.exp(0.35 * size + 0.55 * rng.standard_normal()), 1.5, 400), 2))
    market_cap = MEDIAN_MARKET_CAP * np.exp(MARKET_CAP_SD * (size if generation == 0 else 0.6 * size - 0.3))
    industry = INDUSTRY_CODES[slot % len(INDUSTRY_CODES)] if generation == 0 else str(rng.choice(INDUSTRY_CODES))
    pays = float(rng.uniform(0.005, 0.04)) if rng.random() < PAYERS else 0.0
    foreign = rng.random() < FOREIGN_PAYERS
    halt = (_after(rng, start, HALTS_A_YEAR), int(rng.integers(1, 31)))
    return Company(
        slot=slot,
        generation=generation,
        start=start,
        last=start + 130 + int(rng.exponential(SESSIONS_A_YEAR / DELISTINGS_A_YEAR)),
        end=str(rng.choice(list(_ENDINGS), p=list(_ENDINGS.values()))),
        ticker=ticker,
        vendor_code=ticker,
        new_ticker=new_ticker,
        industry=industry,
        new_industry=str(rng.choice([code for code in INDUSTRY_CODES if code != industry])),
        betas=betas,
        vol=vol,
        size=size,
        price=price,
        shares=float(np.round(market_cap / price, -3)),
        growth=float(rng.normal(0.02, 0.03)),
        pays=pays,
        pay_phase=int(rng.integers(QUARTER)),
        split_above=float(rng.uniform(110, 260)) if rng.random() < 0.7 else np.inf,
        split_to=float(rng.uniform(25, 70)),
        exchange="NYSE" if rng.random() < 0.45 else "NASDAQ",
        sec_type="adr" if foreign else "reit" if industry in ("6010", "6020") else "common",
        currency=str(rng.choice(["EUR", "GBP", "CAD", "JPY"])) if foreign else "USD",
        dual_class=bool(rng.random() < DUAL_CLASS),
        quiet_days=float(rng.uniform(0.05, 0.30)) if size < QUIET_SIZE else 0.0,
        reclassified_at=_after(rng, start, RECLASSIFICATIONS_A_YEAR),
        renamings=((_after(rng, start, RENAMINGS_A_YEAR), new_ticker),),
        spin_off=(
            _after(rng, start, SPIN_OFFS_A_YEAR),
            float(rng.uniform(0.08, 0.30)),
            float(rng.choice([0.1, 0.2, 0.25, 1 / 3, 0.5, 1.0])),
        ),
        halts=(halt,),
    )


def _after(rng: Generator, start: int, a_year: float) -> int:
    return start + BREATH + int(rng.exponential(SESSIONS_A_YEAR / a_year))


def _play(company: Company, role: Role, first: int) -> Company:
    """The company with what its role prescribes."""
    changes: dict[str, Any] = dict(role.traits)
    if "ticker" in changes:
        changes["vendor_code"] = changes["ticker"]
    if role.lives_on:
        changes["last"] = NEVER
    if role.ends_at is not None:
        changes["last"] = first + role.ends_at
    if role.renamed_at:
        names = (company.new_ticker, company.ticker)
        changes["renamings"] = tuple((first + at, names[k % 2]) for k, at in enumerate(role.renamed_at))
    if role.pays_at is not None:
        changes["pay_phase"] = -(first + role.pays_at) % QUARTER
    if role.spins_off_at is not None:
        changes["spin_off"] = (first + role.spins_off_at, *company.spin_off[1:])
    for name in ("reclassified_at", "code_moves_at", "redomiciled_at"):
        if getattr(role, name) is not None:
            changes[name] = first + getattr(role, name)
    if role.halts:
        changes["halts"] = tuple((first + at, sessions) for at, sessions in role.halts.items())
    for name in ("splits", "specials", "jumps"):
        changes[name] = {first + at: value for at, value in getattr(role, name).items()}
    return replace(company, **changes)


def _named_after(seed: int, company: Company, previous: Company, heir: Role | None) -> Company:
    """A newcomer takes the ticker that the company before it has left free, sometimes, or when it is cast as its heir.

    A dead company's vendor code may come with it.
    """
    dead = previous.last < company.start
    free = previous.ticker_on(previous.last) if dead else previous.ticker
    if not dead and previous.ticker_on(company.start) == free:
        return company
    takes, shares_code = stream(seed, "naming", company.key).random(2)
    if heir is None and (not dead or takes > TAKEN_TICKERS):
        return company
    same_code = heir.heir_shares_code if heir is not None else shares_code < 0.5
    code = previous.code_on(previous.last) if dead and same_code else company.vendor_code
    return replace(company, ticker=free, vendor_code=code)


def _settled(company: Company) -> Company:
    """Without what would happen too near to the end, or to somebody whose first session it is."""
    late = company.last - BREATH
    keeps = {
        name: NEVER for name in ("reclassified_at", "code_moves_at", "redomiciled_at") if getattr(company, name) >= late
    }
    return replace(
        company,
        renamings=tuple(each for each in company.renamings if each[0] < late),
        halts=tuple((at, sessions) for at, sessions in company.halts if at + sessions < late),
        spin_off=company.spin_off if company.spin_off[0] < late else (NEVER, 0.0, 0.0),
        **keeps,  # type: ignore[arg-type]
    )


def _listing_sessions(rng: Generator, first: int, last: int) -> list[int]:
    """Sessions of later listings: a Poisson process whose rate depends on the year, by thinning."""
    top = max(LISTINGS_A_YEAR.values())
    sessions: list[int] = []
    at = float(first)
    years = xnys().sessions.astype("datetime64[Y]").astype(int) + 1970
    while True:
        at += rng.exponential(SESSIONS_A_YEAR / top)
        accepted = rng.random() * top
        session = int(at) + 1
        if session > last:
            return sessions
        if accepted < LISTINGS_A_YEAR.get(int(years[session]), USUAL_LISTINGS_A_YEAR):
            sessions.append(session)
