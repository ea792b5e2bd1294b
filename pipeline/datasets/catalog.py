"""The nine stores of the family. docs/datasets.md explains them to readers; its tables are made from here."""

from __future__ import annotations

from dataclasses import replace

from pipeline.datasets.return_flags import ReturnFlag
from pipeline.datasets.spec import LEVELS, TEO_UNITS, CoordinateSpec, DatasetSpec, VariableSpec
from pipeline.settings import UNIVERSES, FactorSet

SCHEMA_VERSION = "1.0"

TEO = CoordinateSpec(
    "teo",
    ("teo",),
    "int64",
    "exchange session (XNYS)",
    TEO_UNITS,
    "every session of the exchange, none skipped; grows at the end only",
)
SYMBOL = CoordinateSpec(
    "symbol",
    ("symbol",),
    "str",
    "permanent security id",
    comment="opaque, never reused; each store has its own axis, which grows at its end only",
)
TICKER = CoordinateSpec(
    "ticker", ("symbol",), "str", "ticker of the security now, or its last one", changes=True, comment="not unique"
)
UNIQUE_TICKER = CoordinateSpec(
    "unique_ticker",
    ("symbol",),
    "str",
    "unique ticker",
    comment="X for the present holder of ticker X, X#N for the earlier ones",
    changes=True,
)
LEVEL = CoordinateSpec("level", ("level",), "str", "level of the cascade")
STOCKS = (TEO, SYMBOL, TICKER, UNIQUE_TICKER)

OUTSIDE = "NaN where the stock is no valid member of the universe at the session, or the level has no estimate"
RETURN = VariableSpec(
    "return", ("teo", "symbol"), "float32", "simple gross total return since the last valid close", "1"
)
CLOSE = VariableSpec("close", ("teo", "symbol"), "float32", "closing price as traded", "USD")
VOLUME = VariableSpec("volume", ("teo", "symbol"), "float32", "shares traded", "shares", "exact up to 2^24")
FACT = VariableSpec(
    "fact",
    ("teo", "symbol", "level"),
    "int16",
    "factor ETF that was used",
    comment="0 where there is none; a proxy before an ETF's inception shows here",
    flags=((0, "none"),),
    open_flags=True,
)


def catalog(market: str = "SPY", universe: str = "uni_mc_3000") -> dict[str, DatasetSpec]:
    """The stores of one factor set by dataset_id, in the order in which they are computed."""
    factor_set = FactorSet(market=market, universe=universe)

    def spec(dataset_id: str, scope: str, title: str, summary: str, **shape: tuple) -> DatasetSpec:
        attributes = {
            "Conventions": "CF-1.11",
            "title": title,
            "dataset_id": dataset_id,
            "schema_version": SCHEMA_VERSION,
            "factor_set_id": factor_set.id if scope == "factor set" else "",
            "market_factor_etf": market if scope != "market data" else "",
            "universe": universe if scope == "factor set" else "",
            **dict(shape.pop("attributes", ())),
        }
        suffix = {"market data": "", "market": f"_{market}", "factor set": f"_{factor_set.id}"}[scope]
        return DatasetSpec(
            dataset_id,
            dataset_id + suffix,
            title,
            summary,
            attributes=tuple(attributes.items()),
            factor_set=factor_set if scope == "factor set" else None,
            **shape,
        )

    stores = (
        spec(
            "ds_daily",
            "market data",
            "Daily prices and returns of US stocks",
            "All stocks ever seen, with what is known of them at each session.",
            coordinates=STOCKS,
            variables=_daily(),
        ),
        spec(
            "ds_etf",
            "market data",
            "Daily prices and returns of the factor ETFs",
            "The factor ETFs and their proxies, on an axis of their own.",
            coordinates=STOCKS,
            variables=(
                replace(RETURN, comment="NaN before the ETF's second session and where a return cannot be made"),
                replace(CLOSE, comment="NaN where there is no price"),
                replace(VOLUME, comment=f"{VOLUME.comment}; NaN where there is no price"),
            ),
        ),
        spec(
            "ds_masks",
            "market data",
            "Universes and validity",
            "Membership as of the last month end, applied from the first session of the month after; validity daily.",
            coordinates=STOCKS,
            variables=_masks(),
            lineage=("ds_daily",),
        ),
        spec(
            "ds_erm3_link_betas",
            "market",
            "Link betas between the factor ETFs",
            "How the factor ETFs depend on each other; the same for every stock.",
            coordinates=(*STOCKS, *_links()),
            variables=_link_betas(),
            lineage=("ds_etf",),
        ),
        spec(
            "ds_erm3_betas",
            "factor set",
            "Factor betas, raw",
            "Cascade betas before shrinkage, with their standard errors.",
            coordinates=(*STOCKS, LEVEL),
            levels=LEVELS,
            variables=_betas(),
            lineage=("ds_daily", "ds_etf", "ds_masks", "ds_erm3_link_betas"),
        ),
        spec(
            "ds_erm3_industry",
            "factor set",
            "Industry aggregates of the raw betas",
            "Mean and dispersion of the raw betas per industry and level: the priors of the shrinkage.",
            coordinates=(TEO, _INDUSTRY, LEVEL),
            levels=LEVELS,
            variables=_industry(),
            attributes=(("panel_keying", "level"),),
            lineage=("ds_daily", "ds_masks", "ds_erm3_betas"),
        ),
        spec(
            "ds_erm3_betas_adjusted",
            "factor set",
            "Factor betas, shrunk",
            "Betas after Vasicek shrinkage toward the peers; the market level is as raw.",
            coordinates=(*STOCKS, LEVEL),
            levels=LEVELS,
            variables=_betas_adjusted(),
            lineage=("ds_daily", "ds_masks", "ds_erm3_betas"),
        ),
        spec(
            "ds_erm3_hedge_weights",
            "factor set",
            "Hedge ratios and explained risk",
            "Hedge ratios on raw ETF returns, and each level's share of the variance in the window.",
            coordinates=STOCKS,
            variables=_hedge_weights(),
            lineage=("ds_daily", "ds_etf", "ds_erm3_link_betas", "ds_erm3_betas_adjusted"),
        ),
        spec(
            "ds_erm3_returns",
            "factor set",
            "Returns decomposition",
            "The session's return in factor and residual parts, by level.",
            coordinates=(*STOCKS, LEVEL),
            levels=(*LEVELS, "lstar"),
            variables=_returns(),
            attributes=(("no_intercept_contract", "no level has an intercept: the residual keeps the stock's alpha"),),
            lineage=("ds_daily", "ds_etf", "ds_erm3_link_betas", "ds_erm3_betas_adjusted", "ds_erm3_hedge_weights"),
        ),
    )
    return {store.dataset_id: store for store in stores}


def _daily() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol")
    return (
        replace(RETURN, comment="NaN where return_flag is 0 or from 32 on, which says why"),
        replace(CLOSE, comment="neither split- nor dividend-adjusted; NaN where there is no accepted price"),
        replace(VOLUME, comment=f"as traded, {VOLUME.comment}; NaN where there is no price"),
        VariableSpec(
            "market_cap",
            cell,
            "float32",
            "market capitalisation",
            "USD",
            "close times the shares known at the session; NaN where either is not known",
        ),
        VariableSpec(
            "fs_sector_code",
            cell,
            "int16",
            "sector known at the session",
            comment="0 where unclassified",
            flags=((0, "unclassified"),),
            open_flags=True,
        ),
        VariableSpec(
            "fs_industry_code",
            cell,
            "int16",
            "industry known at the session",
            comment="0 where unclassified",
            flags=((0, "unclassified"),),
            open_flags=True,
        ),
        VariableSpec(
            "bw_sector_code",
            cell,
            "int16",
            "sector in the second numbering",
            comment="70 + fs_sector_code; 0 where unclassified",
            flags=((0, "unclassified"),),
            open_flags=True,
        ),
        VariableSpec(
            "return_flag",
            cell,
            "int16",
            "how the return was made, or why there is none",
            comment="1 to 31 accompany a return; 0 and codes from 32 on accompany NaN",
            flags=tuple((int(flag), flag.name.lower()) for flag in ReturnFlag),
        ),
    )


def _masks() -> tuple[VariableSpec, ...]:
    members = tuple(
        VariableSpec(
            name,
            ("teo", "symbol"),
            "bool",
            f"among the {name.rsplit('_', 1)[1]} largest stocks by market capitalisation",
            comment="as of the last session of the month before; false before the stock was ever ranked",
        )
        for name in UNIVERSES
    )
    valid = VariableSpec(
        "validity",
        ("teo", "symbol"),
        "bool",
        "tradable and priced at the session",
        comment="outputs are written where a stock is a member of the universe and valid at that session",
    )
    return (*members, valid)


def _links() -> tuple[CoordinateSpec, ...]:
    return (
        CoordinateSpec(
            "link",
            ("link",),
            "str",
            "pair of a subsector ETF and a sector ETF, SUBSECTOR:SECTOR",
            comment="grows at the end only",
        ),
        CoordinateSpec("link_subsector_etf", ("link",), "str", "subsector ETF of the pair"),
        CoordinateSpec("link_sector_etf", ("link",), "str", "sector ETF of the pair"),
    )


def _link_betas() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol")
    return (
        VariableSpec(
            "L2_link_sec_mkt_BF", cell, "float32", "beta of a sector ETF on the market ETF", "1",
            "NaN for an ETF that is no sector ETF, and before it has min_obs returns",
        ),
        VariableSpec(
            "L3_link_sub_mkt_BF", cell, "float32", "beta of a subsector ETF on the market ETF", "1",
            "NaN for an ETF that is no subsector ETF, and before it has min_obs returns",
        ),
        VariableSpec(
            "L3_link_sub_sec_BF", cell, "float32", "beta of a subsector ETF on its home sector's cleaned ETF", "1",
            "given the market; NaN as L3_link_sub_mkt_BF; the pair in use for a stock is in L3_link_sub_sec_pair_BF",
        ),
        VariableSpec(
            "L3_link_sub_sec_pair_BF", ("teo", "link"), "float32",
            "beta of a pair's subsector ETF on its cleaned sector ETF", "1",
            "given the market; one subsector ETF can serve stocks of two sectors; NaN before both have min_obs returns",
        ),
    )  # fmt: skip


def _betas() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol", "level")
    return (
        VariableSpec(
            "factor_beta", cell, "float32", "beta on the level's cleaned factor, given the levels above", "1", OUTSIDE
        ),
        VariableSpec("beta_se", cell, "float32", "standard error of factor_beta", "1", OUTSIDE),
        VariableSpec(
            "n_obs", cell, "int16", "returns in the window that the level used", "1", "0 where factor_beta is NaN"
        ),
        FACT,
    )


def _betas_adjusted() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol", "level")
    return (
        VariableSpec("factor_beta", cell, "float32", "beta after shrinkage toward the peers' mean", "1", OUTSIDE),
        VariableSpec(
            "shrinkage_weight",
            cell,
            "float32",
            "weight of the peers' mean",
            "1",
            f"0: the raw beta, 1: the peers' mean; 0 at market and with fewer peers than min_peers; {OUTSIDE}",
        ),
        FACT,
    )


_INDUSTRY = CoordinateSpec(
    "fs_industry_code", ("fs_industry_code",), "int16", "industry", comment="grows at the end only", open_flags=True
)


def _industry() -> tuple[VariableSpec, ...]:
    cell = ("teo", "fs_industry_code", "level")
    empty = "NaN where the industry has no estimated member"
    return (
        VariableSpec("beta_mean", cell, "float32", "mean of the raw betas", "1", empty),
        VariableSpec(
            "beta_variance", cell, "float32", "variance of the raw betas within and between facts", "1", empty
        ),
        VariableSpec(
            "n_companies", cell, "int16", "stocks in the aggregate", "1", "written below min_peers too; 0 where none"
        ),
        VariableSpec("total_log_mcap_weight", cell, "float32", "sum of ln(market_cap + 1) over the stocks", "1", empty),
        VariableSpec("n_facts", cell, "int16", "different factor ETFs among the stocks", "1", "0 where none"),
    )


def _hedge_weights() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol")
    legs = {1: ("market",), 2: ("market", "sector"), 3: ("market", "sector", "subsector")}
    through = {1: "the market level", 2: "market and sector", 3: "market, sector and subsector"}
    ratios = tuple(
        VariableSpec(
            f"L{depth}_{leg}_HR",
            cell,
            "float32",
            f"hedge ratio on the {leg} ETF, hedging {through[depth]}",
            "1",
            f"dollars of the ETF per dollar long the stock, negative: short; {OUTSIDE}",
        )
        for depth, names in legs.items()
        for leg in names
    )
    shares = tuple(
        VariableSpec(
            f"L{depth}_{leg}_ER",
            cell,
            "float32",
            f"share of the variance that {through[depth]} leaves"
            if leg == "residual"
            else f"share of the variance that the {leg} level explains",
            "1",
            f"within the window, not a forecast, not clipped; the shares of L{depth} add to 1; {OUTSIDE}",
        )
        for depth, names in legs.items()
        for leg in (*names, "residual")
    )
    variance = VariableSpec(
        "_stock_var",
        cell,
        "float32",
        "total variance of the daily return in the window",
        "1",
        f"weighted, mean removed; volatility is sqrt(252 _stock_var); {OUTSIDE}",
    )
    return (*ratios, *shares, variance)


def _returns() -> tuple[VariableSpec, ...]:
    cell = ("teo", "symbol", "level")
    without = f"NaN where the stock has no return at the session; {OUTSIDE}"
    return (
        VariableSpec(
            "combined_factor_return", cell, "float32", "sum of the factor returns down to the level", "1", without
        ),
        VariableSpec("factor_return", cell, "float32", "beta times the level's cleaned factor return", "1", without),
        VariableSpec("residual_return", cell, "float32", "return less combined_factor_return", "1", without),
        VariableSpec(
            "lstar_level",
            ("teo", "symbol"),
            "uint8",
            "deepest level worth hedging",
            comment="by Lstar_threshold; the level lstar of the other variables carries that level's value",
            flags=((0, "none"), (1, "market"), (2, "sector"), (3, "subsector")),
        ),
    )
