"""A market with something to get wrong on most days, what was known of it at an instant, and a garbled future.

It is the simulated market with what came days or months late: corrections of a price, a split, a dividend, a class, the
type of one company and the currency of another; and listings whose bars came before anybody knew whose they were (a
stock, a spun-off child, an ETF, a company that came back under its code, and one that went on under another); and ends
that nobody knew of while bars went on (a merger, and a company whose code another one took over).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.calendar import xnys
from pipeline.engine import execution
from pipeline.quality.findings import FINDINGS_FILE
from pipeline.settings import AuditBounds, ModelParameters, Settings, SimulatedMarket
from pipeline.sources import SourceTables
from pipeline.vendors.layers import open_source
from security_master import MASTER_FILE, SecurityMaster
from tests.engine.published_market import Arrays, Delivered, published, same_bits

START, END = "2018-05-04", "2019-05-20"
MARKET = SimulatedMarket(stocks=40, first_session="2018-01-02", last_session=END)
MODEL = ModelParameters(window=42, min_obs=21, half_life=21.0, min_peers=2)
DELAY_MINUTES = 15

CORRECTED_PRICE = ("CAKE", "2018-09-12", "2018-09-20")
"""A close that was corrected days later."""
LATE_SPLIT = ("BEJA", "2018-10-01", "2018-10-10")
"""A stock dividend of 21:20 that became known after its ex-date."""
LATE_CLASS = ("DOPE", "2018-06-01", "2018-08-20")
"""A class that became known long after it applied."""
DOUBLED_DIVIDEND = "2019-05-15"
"""When the amount of a dividend was corrected."""
LATE_ATTRIBUTES = ({"code": "KOTE", "type": "adr"}, {"code": "CAKE", "currency": "EUR"})
ATTRIBUTES_KNOWN = "2019-02-13"
"""When two companies turned out to be of another type (no member of a universe) and quoted in another currency."""
LATE_LISTINGS = {"CAKEA": "2018-09-25", "ROVOSP": "2019-01-22", "XLRE": "2019-04-22"}
"""Code -> when the listing became known, sessions after its first bar: a stock, a spun-off child, a factor ETF."""
CAME_BACK = ("XOBU", "2019-05-06", "2019-05-10")
"""A company that left by a merger and trades again under its code; known sessions after its first bar."""
OTHER_CODE = ("NESAA", "NESAN", "2019-03-05", "2019-03-13")
"""A company that goes on under another vendor code; whose it is became known sessions later."""

ENDED_LATE = ("GERO", "2018-07-10", "2018-07-20")
"""A company that left by a merger; known sessions later, and its bars went on until then."""
TAKEN_OVER = ("HASU", "2018-08-06", "2018-08-14")
"""A code that another company has from a session on; known sessions later."""


def instant(session: object) -> np.datetime64:
    """Up to when facts may enter what is published for a session."""
    calendar = xnys()
    return calendar.knowledge_instants([calendar.ordinal(session)], DELAY_MINUTES)[0]


@cache
def world() -> SourceTables:
    """All that is known after END."""
    tables = open_source(Settings(simulated=MARKET)).load()
    code, day, known = CORRECTED_PRICE
    prices = tables.prices
    wrong = prices[(prices["vendor_code"] == code) & (prices["date"] == day)].assign(known_from=evening(known))
    for column in ("open", "high", "low", "close"):
        wrong[column] *= 1.05
    code, day, known = LATE_SPLIT
    split = {"vendor_code": code, "ex_date": pd.Timestamp(day), "ratio_new": 21, "ratio_old": 20}
    dividends = tables.dividends
    before = dividends[dividends["ex_date"] < DOUBLED_DIVIDEND]
    doubled = before[before["ex_date"] == before["ex_date"].max()].iloc[:1]
    doubled = doubled.assign(amount=doubled["amount"] * 2, known_from=evening(DOUBLED_DIVIDEND))
    securities = tables.securities
    for change in LATE_ATTRIBUTES:
        row = securities[securities["vendor_code"] == change["code"]].iloc[:1]
        other = {name: value for name, value in change.items() if name != "code"}
        securities = _with(securities, row.assign(known_from=evening(ATTRIBUTES_KNOWN), known_assumed=False, **other))
    class_code, valid_from, class_known = LATE_CLASS
    late_class = tables.classification[tables.classification["vendor_code"] == class_code].iloc[:1]
    late_class = late_class.assign(
        valid_from=pd.Timestamp(valid_from), fs_industry_code="1530", known_from=evening(class_known)
    )
    securities, prices = with_late_listings(securities, _with(prices, wrong))
    ended, last, told = ENDED_LATE
    prices = prices[(prices["vendor_code"] != ended) | (prices["date"] <= told)].reset_index(drop=True)
    merged = {"vendor_code": ended, "last_session": pd.Timestamp(last), "reason": "merger", "cash": 50.0}
    merged |= {"successor_code": "", "known_from": evening(told), "known_assumed": False}
    return replace(
        tables,
        delistings=_with(tables.delistings, pd.DataFrame([merged])),
        securities=securities,
        prices=prices,
        splits=_with(tables.splits, pd.DataFrame([split]).assign(known_from=evening(known), known_assumed=False)),
        dividends=_with(dividends, doubled),
        classification=_with(tables.classification, late_class),
    )


def with_late_listings(securities: pd.DataFrame, prices: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """LATE_LISTINGS, CAME_BACK, OTHER_CODE and TAKEN_OVER: all bars come on their evenings."""
    securities = securities.copy()
    for code, known in LATE_LISTINGS.items():
        securities.loc[securities["vendor_code"] == code, "known_from"] = pd.Timestamp(evening(known))
    code, day, known = CAME_BACK
    back = securities[securities["vendor_code"] == code].iloc[:1]
    back = back.assign(first_session=pd.Timestamp(day), last_session=pd.NaT, known_from=evening(known))
    old, new, since, known_as_one = OTHER_CODE
    moved = securities[securities["vendor_code"] == old].iloc[:1]
    moved = moved.assign(vendor_code=new, first_session=pd.Timestamp(since), known_from=evening(known_as_one))
    codes = prices["vendor_code"].astype("str")
    again = prices[(codes == "CAKE") & (prices["date"] >= day)].assign(vendor_code=code)
    renamed = codes.mask((codes == old) & (prices["date"] >= since), new)
    bars = pd.concat([prices.assign(vendor_code=renamed), again], ignore_index=True)
    bars["vendor_code"] = bars["vendor_code"].astype("category")
    ended = securities[securities["vendor_code"] == old].iloc[:1]
    ended = ended.assign(last_session=pd.Timestamp(since) - pd.Timedelta(days=1), known_from=evening(known_as_one))
    code, day, known = TAKEN_OVER
    left = securities[securities["vendor_code"] == code].iloc[:1].assign(known_from=evening(known))
    heir = left.assign(first_session=pd.Timestamp(day), name="The heir of a code", cik="0009999000")
    heir[["isin", "cusip", "composite_figi", "share_class_figi"]] = ""
    left = left.assign(last_session=pd.Timestamp(day) - pd.Timedelta(days=3))
    rows = pd.concat([back, moved, ended, left, heir]).assign(known_assumed=False)
    return _with(securities, rows), bars


def evening(day: str) -> np.datetime64:
    return np.datetime64(f"{day}T22:00:00", "us")


def _with(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The frame with rows at its end; what they do not say is missing as it is in the frame."""
    rows = rows.reindex(columns=frame.columns)
    for column, dtype in frame.dtypes.items():
        given = rows[column]
        rows[column] = (given.astype(object).fillna("") if dtype == "str" else given).astype(dtype)
    return pd.concat([frame, rows], ignore_index=True)


def settings_for(root: Path) -> Settings:
    # The audits have their own tests; without the sample a run is twice as fast.
    return Settings(root=str(root), simulated=MARKET, model=MODEL, audit=AuditBounds(recomputed_cells=0))


@dataclass(frozen=True, eq=False)
class Publication:
    """What a run published: arrays by store, quality findings, and the security master."""

    stores: dict[str, Arrays]
    findings: pd.DataFrame
    master: Path


def pipeline(tables: SourceTables, through: str, root: Path, until: str | None = None) -> Publication:
    """Everything published for START to `through` from these tables."""
    execution.execute(settings_for(root), START, through, until=until, source=Delivered(tables))
    return read(root)


def read(root: Path) -> Publication:
    return Publication(published(root), pd.read_parquet(root / FINDINGS_FILE), root / MASTER_FILE)


def differences(part: Publication, full: Publication, session: str) -> list[str]:
    """Where what is published for the sessions up to `session` differs by a bit.

    part: published from a world that ends with the session, or whose later part is another one. Compared are all rows:
    axes (the shorter one must be the beginning of the longer one, and the rest must hold no value yet), masks, codes,
    floats with their NaN, the findings made by then, the tickers of then, and the recorded universes.
    """
    found: list[str] = []
    day = np.datetime64(session, "D")
    for store in sorted(part.stores):
        a, b = part.stores[store], full.stores[store]
        rows, other_rows = (int((arrays["teo"].astype("datetime64[D]") <= day).sum()) for arrays in (a, b))
        if rows != other_rows:
            found.append(f"{store}: {rows} and {other_rows} sessions")
            continue
        axis = "symbol" if "symbol" in a else "fs_industry_code"
        size = min(len(a[axis]), len(b[axis]))
        if list(a[axis][:size]) != list(b[axis][:size]):
            found.append(f"{store}/{axis}: the longer axis does not begin with the shorter one")
            continue
        for name in sorted(a.keys() - {"ticker", "unique_ticker", axis, "teo"}):
            along_axis = a[name].ndim > 1 and a[name].shape[1] == len(a[axis])
            columns = size if along_axis else a[name].shape[-1]
            found += _differs(f"{store}/{name}", a[name], b[name], rows, columns)
    found += _master_differences(part, full, session)
    by_then = [
        each.findings[each.findings["detected_at"] <= xnys().ordinal(session)].sort_values(list(each.findings.columns))
        for each in (part, full)
    ]
    if not by_then[0].reset_index(drop=True).equals(by_then[1].reset_index(drop=True)):
        found.append("findings")
    return found


def _differs(name: str, a: np.ndarray, b: np.ndarray, rows: int, columns: int) -> list[str]:
    if a.ndim == 1:
        return [] if list(a) == list(b) else [name]
    if not same_bits(np.ascontiguousarray(a[:rows, :columns]), np.ascontiguousarray(b[:rows, :columns])):
        return [name]
    later = [side[:rows, columns:] for side in (a, b)]
    early = any((~np.isnan(cells) if cells.dtype.kind == "f" else cells != 0).any() for cells in later)
    return [f"{name}: values of symbols that come later"] if early else []


def _master_differences(part: Publication, full: Publication, session: str) -> list[str]:
    known = instant(session)
    answers: list[dict[str, Any]] = []
    with SecurityMaster.open(part.master) as ours, SecurityMaster.open(full.master) as theirs:
        symbols = part.stores["ds_daily"]["symbol"]
        for master in (ours, theirs):
            tickers, unique = master.labels(symbols, session, known_as_of=known)
            universes = {
                f"{name} of {snapshot.mask_as_of}": list(snapshot.members)
                for name in ("uni_mc_50", "uni_mc_3000")
                for snapshot in master.snapshots(name, known_as_of=known)
            }
            answers.append({"ticker": list(tickers), "unique_ticker": list(unique), **universes})
    # What is stored as ticker is that of the last session, here the one at which the world ends.
    stored = {f"stored {name}": part.stores["ds_daily"][name].tolist() for name in ("ticker", "unique_ticker")}
    answers[0] |= stored
    answers[1] |= {name: answers[1][name.removeprefix("stored ")] for name in stored}
    names = answers[0].keys() | answers[1].keys()
    return [f"master: {name}" for name in sorted(names) if answers[0].get(name) != answers[1].get(name)]


def poisoned(tables: SourceTables, session: str) -> SourceTables:
    """The tables with everything garbled that is dated or known after a session.

    Prices x7, negative, missing or gone; other split ratios and amounts; shares x1000; other classes; renames;
    delistings of the living, and none of the dying; other types and currencies; a stranger under a living company's
    ticker and identifiers.
    """
    after, known = pd.Timestamp(session), pd.Timestamp(instant(session))
    rng = np.random.default_rng(int(after.strftime("%Y%m%d")))

    def late(frame: pd.DataFrame, date: str | None) -> np.ndarray:
        rows = (frame["known_from"] > known).to_numpy()
        return rows if date is None else rows | (frame[date] > after).to_numpy()

    prices = tables.prices.copy()
    rows = late(prices, "date")
    draw = rng.random(len(prices))
    for column in ("open", "high", "low", "close"):
        values = prices[column].to_numpy(copy=True)
        values[rows & (draw < 0.3)] *= 7
        values[rows & (draw > 0.9)] = np.nan
        values[rows & (draw > 0.8) & (draw < 0.85)] *= -1
        prices[column] = values
    prices["volume"] = np.where(rows & (draw < 0.5), 0.0, prices["volume"])
    prices = prices[~rows | (draw < 0.97)]

    splits = tables.splits.copy()
    splits.loc[late(splits, "ex_date"), "ratio_new"] = 7
    dividends = tables.dividends.copy()
    dividends.loc[late(dividends, "ex_date"), "amount"] *= 50
    spin_offs = tables.spin_offs.copy()
    spin_offs.loc[late(spin_offs, "ex_date"), ["value", "child_ratio"]] = [99.0, 3.0]
    shares = tables.shares.copy()
    shares.loc[late(shares, None), "shares"] *= 1000
    fx_rates = tables.fx_rates.copy()
    fx_rates.loc[late(fx_rates, "date"), "usd_rate"] *= 7
    classification = tables.classification.copy()
    classification.loc[late(classification, "valid_from"), "fs_industry_code"] = "4820"
    living = tables.securities[
        (tables.securities["known_from"] <= known) & (tables.securities["type"] == "common")
        & ~(tables.securities["last_session"] <= after)
    ].drop_duplicates("vendor_code")  # fmt: skip
    tomorrow = xnys().ordinal(session) + 1
    next_day = pd.Timestamp(xnys().sessions[tomorrow])
    moved = living.iloc[:6][["vendor_code"]].assign(
        valid_from=next_day, fs_industry_code="2510", known_from=pd.Timestamp(xnys().closes[tomorrow])
    )
    renamed = living[~living["vendor_code"].isin(tables.ticker_changes["vendor_code"])].iloc[3:9]
    names = [f"POISON{k}" for k in range(len(renamed))]
    changes = _with(
        tables.ticker_changes,
        pd.DataFrame({
            "vendor_code": renamed["vendor_code"], "effective_date": next_day,
            "old_ticker": renamed["ticker"], "new_ticker": names,
            "known_from": pd.Timestamp(xnys().closes[tomorrow]), "known_assumed": False,
        }),
    )  # fmt: skip
    delistings = tables.delistings[~late(tables.delistings, "last_session")]
    dying = living.iloc[9:14]
    delistings = _with(
        delistings,
        pd.DataFrame({
            "vendor_code": dying["vendor_code"], "last_session": next_day, "reason": "bankruptcy", "cash": 0.01,
            "known_from": pd.Timestamp(xnys().closes[tomorrow]), "known_assumed": False,
        }),
    )  # fmt: skip
    securities = tables.securities.copy()
    # When a row of today states an end or a ticker that came after the session, the row of then did not.
    securities.loc[late(securities, "last_session") & ~late(securities, None), "last_session"] = pd.NaT
    rows = late(securities, None)
    securities.loc[rows, ["isin", "cik", "currency"]] = ["XX0000000000", "0000000000", "JPY"]
    for code, name in zip(renamed["vendor_code"], names, strict=True):
        securities.loc[securities["vendor_code"] == code, "ticker"] = name  # a row states the ticker of today
    others = living.iloc[16:20].assign(type="etf", currency="JPY", known_from=pd.Timestamp(xnys().closes[tomorrow]))
    stranger = living.iloc[14:15].assign(
        vendor_code="STRANGER", name="A stranger", first_session=next_day, last_session=pd.NaT,
        known_from=pd.Timestamp(xnys().closes[tomorrow]),
    )  # fmt: skip
    return replace(
        tables,
        securities=_with(securities, pd.concat([others, stranger])),
        prices=prices.reset_index(drop=True),
        splits=splits,
        dividends=dividends,
        spin_offs=spin_offs,
        shares=shares,
        fx_rates=fx_rates,
        classification=_with(classification, moved),
        ticker_changes=changes,
        delistings=delistings,
    )
