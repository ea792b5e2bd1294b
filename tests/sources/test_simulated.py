"""The simulated market: the same for the same seed whatever is asked for, true to its truth, and near to real ones."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from pipeline.calendar import xnys
from pipeline.settings import SimulatedMarket
from pipeline.sources import SimulatedSource, SourceTables
from pipeline.sources.shipped import taxonomy
from pipeline.sources.simulated.factors import factor_returns
from pipeline.sources.simulated.identifiers import isin, tickers
from tests.sources.simulated_markets import market, small, small_tables


def assert_same_tables(left: SourceTables, right: SourceTables) -> None:
    for name, frame in left.frames.items():
        pd.testing.assert_frame_equal(frame, right.frames[name], check_exact=True, obj=name)


def digest(tables: SourceTables) -> str:
    total = hashlib.sha256()
    for frame in tables.frames.values():
        plain = frame.assign(vendor_code=frame["vendor_code"].astype(str)) if "vendor_code" in frame else frame
        total.update(pd.util.hash_pandas_object(plain, index=False).to_numpy().tobytes())
    return total.hexdigest()


@pytest.mark.parametrize("last_session", ["2018-01-05", "2018-12-20", "2019-07-08", "2019-12-31"])
def test_a_longer_horizon_leaves_every_bit_of_the_past(last_session: str) -> None:
    """Knowing the long market at the close of an earlier session is the market that ends there."""
    now = xnys().closes[xnys().ordinal(last_session)] + np.timedelta64(15, "m")
    assert_same_tables(SimulatedSource(market(last_session=last_session)).load(), small_tables().as_known(now))


def test_a_stock_more_leaves_every_number_of_the_others() -> None:
    more = SimulatedSource(market(stocks=47)).load()
    codes = set(small_tables().securities["vendor_code"])
    assert len(more.securities) > len(small_tables().securities)
    for name, frame in small_tables().frames.items():
        other = more.frames[name]
        if "vendor_code" in other:
            other = other[other["vendor_code"].isin(codes)].reset_index(drop=True)
        if name == "prices":
            frame, other = (each.assign(vendor_code=each["vendor_code"].astype(str)) for each in (frame, other))
        pd.testing.assert_frame_equal(frame, other, check_exact=True, obj=name)


def test_another_seed_is_another_market() -> None:
    other = SimulatedSource(market(seed=1)).load()
    assert other.prices["close"].iloc[:1000].tolist() != small_tables().prices["close"].iloc[:1000].tolist()


def test_another_process_makes_the_same_market() -> None:
    program = (
        "from tests.sources.test_simulated import digest\nfrom tests.sources.simulated_markets import small_tables\n"
        "print(digest(small_tables()))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(small_tables())


def test_delivered_prices_and_events_make_the_true_returns_up_to_ticks() -> None:
    """A holder's walk over raw closes and events between two trades, against compounded truth."""
    checked = 0
    for key, code, first, last in _listings():
        gross = (1 + small().truth.total_return(key).fillna(0)).cumprod()
        close, units, cash = _holding(code, first, last, gross.index)
        traded = small().truth.traded(key)
        close = close[traded[close.index].to_numpy()]
        at = close.index
        value = close * units[at]
        got = (value + cash.cumsum()[at].diff()) / value.shift() - 1
        want = gross[at] / gross[at].shift() - 1
        tick = pd.Series(np.where(close < 1, 0.00005, 0.005), at) * units[at]
        bound = (tick + tick.shift() * (1 + want.abs())) / value.shift() + 1e-6
        assert ((got - want).abs()[1:] <= 1.05 * bound[1:]).all(), key
        checked += len(at)
    assert checked > 25_000


def test_the_printed_last_return_of_a_dead_company_is_the_true_one() -> None:
    tables, truth = small_tables(), small().truth
    closes = tables.prices.set_index(["vendor_code", "date"])["close"]
    value = truth.delistings.merge(truth.identities[["key", "vendor_code"]]).set_index(["vendor_code", "last_session"])
    seen = set()
    for row in tables.delistings.itertuples():
        true = value.loc[(row.vendor_code, row.last_session), "value"]
        last = closes[(row.vendor_code, row.last_session)]
        if row.successor_code:
            got = row.successor_ratio * closes[(row.successor_code, row.last_session)] / last - 1
        elif np.isfinite(row.cash):
            got = row.cash / last - 1
        else:
            exchange = tables.securities.set_index("vendor_code").loc[row.vendor_code, "exchange"]
            got = {"NYSE": -0.30, "NASDAQ": -0.55}[exchange]
        assert got == pytest.approx(true, abs=1e-12)
        seen.add(row.reason)
    assert seen == {"merger", "exchange_drop", "bankruptcy", "liquidation", "voluntary"}


def test_the_cast_plays_every_phenomenon() -> None:
    tables, truth = small_tables(), small().truth
    securities = tables.securities
    assert {"NA", "TRUE", "ON", "NULL"} <= set(securities["ticker"])
    one_listing = securities.drop_duplicates(["vendor_code", "first_session"])
    recycled = one_listing[one_listing["vendor_code"].duplicated(keep=False)]
    assert len(recycled) >= 2
    assert recycled["share_class_figi"].is_unique
    moved = one_listing[one_listing["share_class_figi"].ne("") & one_listing["share_class_figi"].duplicated(keep=False)]
    assert moved["vendor_code"].is_unique
    assert len(moved) == 2
    same_ticker = one_listing.groupby("ticker")["share_class_figi"].nunique()
    assert same_ticker.max() >= 2
    corrected = securities[securities.duplicated(["vendor_code", "first_session"], keep=False)]
    assert corrected.groupby("vendor_code")["isin"].nunique().min() >= 2
    assert securities.groupby("cik")["share_class_figi"].nunique().drop("").max() == 2
    ratios = set(zip(tables.splits["ratio_new"], tables.splits["ratio_old"], strict=True))
    assert {(7, 1), (21, 20), (3, 2), (2, 1)} <= ratios
    assert any(new < old for new, old in ratios)
    assert {"regular", "special"} <= set(tables.dividends["kind"])
    assert "EUR" in set(tables.dividends["currency"])
    both = tables.dividends.merge(tables.splits, on=["vendor_code", "ex_date"])
    assert set(both["basis"]) == {"pre", "post"}
    assert len(tables.spin_offs) >= 1
    assert (tables.delistings["successor_code"] != "").any()
    assert (tables.prices["volume"] == 0).any()
    assert (truth.jumps["size"] > 1).any()
    assert (truth.jumps["size"] < -0.5).any()
    assert (tables.classification["known_from"] > tables.classification["valid_from"]).any()


def test_the_ticker_of_a_renamed_company_goes_to_a_newcomer_on_the_same_day() -> None:
    changes = small_tables().ticker_changes
    securities = small_tables().securities
    same_day = changes.merge(
        securities,
        left_on=["effective_date", "old_ticker"],
        right_on=["first_session", "ticker"],
        suffixes=("", "_new"),
    )
    assert (same_day["vendor_code"] != same_day["vendor_code_new"]).any()


def test_etfs_start_late_with_and_without_a_proxy_that_is_there() -> None:
    tables = small_tables()
    registry = tables.factor_etfs.set_index("etf")
    first_price = tables.prices.groupby("vendor_code", observed=True)["date"].min()
    late = registry[registry["first_session"] > registry.loc["SPY", "first_session"]]
    assert set(late["role"]) == {"sector", "subsector"}
    assert (late["proxy"] == "").any()
    for etf, row in late.iterrows():
        assert first_price[etf] == row["first_session"]
        if row["proxy"]:
            assert first_price[row["proxy"]] == tables.prices["date"].min()


def test_industries_and_etfs_are_those_of_the_shipped_taxonomy() -> None:
    tables = small_tables()
    shipped = taxonomy().set_index("fs_industry_code")
    used = set(tables.classification["fs_industry_code"])
    assert 25 <= len(used) <= 30
    listed = set(tables.factor_etfs["etf"])
    for code in used:
        assert {shipped.loc[code, "sector_etf"], shipped.loc[code, "subsector_etf"]} <= listed
    assert (tables.factor_etfs["role"] == "sector").sum() == 11
    assert 18 <= (tables.factor_etfs["role"] == "subsector").sum() <= 25


def test_bars_are_consistent_and_quoted_in_ticks() -> None:
    prices = small_tables().prices
    assert (prices["low"] <= prices[["open", "close"]].min(axis=1)).all()
    assert (prices["high"] >= prices[["open", "close"]].max(axis=1)).all()
    assert (prices["close"] > 0).all()
    dear = prices["close"] >= 1
    cents = prices["close"][dear] * 100
    assert (cents - cents.round()).abs().max() < 1e-6
    assert (prices["volume"] == prices["volume"].round()).all()
    quiet = prices["volume"] == 0
    assert (prices["high"][quiet] == prices["low"][quiet]).all()


def test_filings_come_weeks_after_their_period_and_events_are_announced_before() -> None:
    tables = small_tables()
    regular = tables.shares[tables.shares["filed_at"] > tables.shares["period_end"]]
    lag = (regular["filed_at"] - regular["period_end"]).dt.days
    assert lag.min() >= 20
    assert 25 < lag.median() < 60
    assert (tables.splits["known_from"] < tables.splits["ex_date"]).all()
    assert (tables.dividends["known_from"] < tables.dividends["ex_date"]).all()


def test_factor_loadings_of_the_etfs_are_recovered() -> None:
    """SPY is the market; a subsector ETF regressed on the true factors has its loadings, within sampling error."""
    truth = small().truth
    factors = truth.factors
    spy = truth.total_return("SPY")[1:]
    assert np.corrcoef(spy, factors["market"][1:])[0, 1] > 0.9999
    for etf, sector in (("IGV", "XLK"), ("KRE", "XLF"), ("XBI", "XLV")):
        design = factors[["market", sector, etf]].iloc[1:]
        fitted = np.linalg.lstsq(design.to_numpy(), truth.total_return(etf)[1:].to_numpy(), rcond=None)[0]
        assert fitted == pytest.approx(
            truth.etf_loadings.loc[etf, ["market", "sector", "own"]].to_numpy(float), abs=0.02
        )


def test_betas_of_the_cascade_are_recovered_without_bias() -> None:
    """L1, L2 and L3 betas on the independent factors: mean error below 0.03 over all companies with two years."""
    truth = small().truth
    errors = []
    for row in truth.betas.drop_duplicates("key", keep=False).itertuples():
        own = truth.total_return(row.key)[1:]
        if len(own) < 500:
            continue
        design = truth.factors.loc[own.index, ["market", row.sector_etf, row.subsector_etf]]
        fitted = np.linalg.lstsq(design.to_numpy(), own.to_numpy(), rcond=None)[0]
        errors.append(fitted - [row.market, row.sector, row.subsector])
    assert len(errors) > 25
    bound = 3 * np.std(errors, axis=0) / np.sqrt(len(errors))
    assert (np.abs(np.mean(errors, axis=0)) < np.maximum(bound, 0.03)).all()


def test_the_panel_looks_like_a_market() -> None:
    """Bands of the realism scorecard that need no long panel: volatility, beta, R2, tails, correlation."""
    truth = SimulatedSource(market(stocks=160)).truth
    spy = truth.total_return("SPY")
    panel = pd.DataFrame({key: truth.total_return(key) for key in truth.identities["key"]})
    panel = panel.loc[:, panel.count() > 504]
    volatility = panel.std() * np.sqrt(252)
    assert 0.33 < volatility.median() < 0.47
    betas = panel.apply(lambda own: own.cov(spy) / spy[own.index[own.notna()]].var())
    assert 0.95 < betas.mean() < 1.25
    assert 0.28 < betas.std() < 0.50
    assert 0.15 < (panel.corrwith(spy) ** 2).median() < 0.50  # the window holds the crash of 2020
    assert 4 < panel.kurt().median() < 20
    calm = panel.loc["2019"].dropna(axis=1).corr().to_numpy()
    crisis = panel.loc["2020"].dropna(axis=1).corr().to_numpy()
    upper = np.triu_indices(len(calm), 1)
    assert 0.05 < calm[upper].mean() < 0.30
    assert calm[upper].mean() + 0.05 < crisis[np.triu_indices(len(crisis), 1)].mean() < 0.65
    payers = small_tables().dividends["vendor_code"].nunique() / small_tables().securities["vendor_code"].nunique()
    assert 0.30 < payers < 0.85  # every ETF pays


def test_the_market_has_the_volatility_of_the_year() -> None:
    volatility = {}
    for seed in range(8):
        factors = factor_returns(seed, xnys().ordinal("2006-01-03"), xnys().ordinal("2020-12-31"))
        spy = pd.Series(factors.etfs["SPY"], index=pd.DatetimeIndex(xnys().between("2006-01-03", "2020-12-31")))
        volatility[seed] = spy.groupby(spy.index.year).std() * np.sqrt(252)
    mean = pd.DataFrame(volatility).mean(axis=1)
    assert 0.28 < mean[2008] < 0.50
    assert 0.25 < mean[2020] < 0.44
    assert 0.05 < mean[2017] < 0.09


def test_dead_companies_make_a_difference() -> None:
    """Who looks at survivors only sees a mean return at least 1 % a year too high."""
    years = SimulatedMarket(stocks=400, first_session="2006-01-03", last_session="2018-12-31")
    truth = SimulatedSource(years).truth
    total = pd.Series({key: truth.total_return(key).sum() for key in truth.identities["key"]})
    total = total.add(truth.delistings.set_index("key")["value"], fill_value=0)
    sessions = pd.Series({key: truth.total_return(key).count() for key in truth.identities["key"]})
    alive = truth.identities["key"][truth.identities["last_session"].isna()]
    everyone = total.sum() / sessions.sum()
    survivors = total[alive].sum() / sessions[alive].sum()
    assert 252 * (survivors - everyone) > 0.01


def test_a_range_without_two_sessions_is_refused() -> None:
    with pytest.raises(ValueError, match="no two sessions"):
        SimulatedSource(SimulatedMarket(first_session="2019-01-05", last_session="2019-01-07")).load()


def test_tickers_are_unlike_each_other_and_unlike_etfs() -> None:
    names = [
        name for slot in range(9000) for generation in (0, 1, 2, 801, 900, 902) for name in tickers(slot, generation)
    ]
    assert len(names) == len(set(names))
    etfs = set(taxonomy()["sector_etf"]) | set(taxonomy()["subsector_etf"])
    assert not etfs & set(names)
    with pytest.raises(ValueError, match="slot 9000"):
        tickers(9000, 0)


def test_isins_have_a_right_check_digit() -> None:
    """By the published example US0378331005, and the sum over all digits divisible by ten."""
    made = isin(12345678, 3)
    digits = "".join(str(int(symbol, 36)) for symbol in made)
    total = sum(int(d) if k % 2 == 0 else sum(divmod(2 * int(d), 10)) for k, d in enumerate(reversed(digits)))
    assert total % 10 == 0
    assert isin(3783310, 0)[:-1] == "US003783310"


def _listings() -> list[tuple[str, str, pd.Timestamp, pd.Timestamp]]:
    """(key, code, first, last) of each company that kept its code."""
    end = small_tables().prices["date"].max()
    identities = small().truth.identities
    one_code = small_tables().securities.groupby("share_class_figi")["vendor_code"].nunique() == 1
    rows = identities[identities["share_class_figi"].map(one_code)]
    return [
        (row.key, row.vendor_code, row.first_session, row.last_session if pd.notna(row.last_session) else end)
        for row in rows.itertuples()
    ]


def _holding(
    code: str, first: pd.Timestamp, last: pd.Timestamp, sessions: pd.DatetimeIndex
) -> tuple[pd.Series, pd.Series, pd.Series]:
    """(closes as printed, shares held of one at the start, dollars received per session)."""
    tables = small_tables()

    def of(name: str) -> pd.DataFrame:
        frame = tables.frames[name]
        when = "date" if name == "prices" else "ex_date"
        return frame[(frame["vendor_code"] == code) & (frame[when] >= first) & (frame[when] <= last)]

    rate = tables.fx_rates.set_index(["currency", "date"])["usd_rate"]
    child_close = tables.prices.set_index(["vendor_code", "date"])["close"]
    ratio = pd.Series(1.0, sessions)
    for row in of("splits").itertuples():
        ratio[row.ex_date] *= row.ratio_new / row.ratio_old
    units = ratio.cumprod()
    cash = pd.Series(0.0, sessions)
    for row in of("spin_offs").itertuples():
        cash[row.ex_date] += row.child_ratio * child_close[(row.child_code, row.ex_date)] * units[row.ex_date]
    for row in of("dividends").itertuples():
        held = units[row.ex_date] / (ratio[row.ex_date] if row.basis == "pre" else 1)
        dollars = row.amount if row.currency == "USD" else row.amount * rate[(row.currency, row.ex_date)]
        cash[row.ex_date] += dollars * held
    return of("prices").set_index("date")["close"], units, cash
