"""The one declared table of what can be asked for: names, where it lies, units, definitions.

Keys of JSON, columns of CSV and Parquet, `cube`, the help of commands, the schema of the API and `docs/fields.md` come
from here. `python -m pipeline.query` writes that page anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.spec import LEVELS
from pipeline.query.errors import BadQuestion

SHORT = {"market": "mkt", "sector": "sec", "subsector": "sub", "residual": "res"}
LEGS = {1: LEVELS[:1], 2: LEVELS[:2], 3: LEVELS}
"""Which ETFs a hedge at L1, L2, L3 has."""
L3_RATIOS = tuple(f"l3_{SHORT[leg]}_hr" for leg in LEVELS)
L3_SHARES = tuple(f"l3_{SHORT[leg]}_er" for leg in (*LEVELS, "residual"))

HEDGE, RETURNS, BETAS = "ds_erm3_hedge_weights", "ds_erm3_returns", "ds_erm3_betas_adjusted"
DAILY, ETF, MASKS, INDUSTRY = "ds_daily", "ds_etf", "ds_masks", "ds_erm3_industry"
RANKINGS = "ds_rankings"


@dataclass(frozen=True)
class Field:
    """One value of a stock at a session.

    wire:     its name in the API. sdk: its name in Python, and in what the existing client gives; `also`: other names.
    store, variable, level: where it lies; level "" where the variable has none.
    computed: it is made from the variable by the definition, and not stored as such.
    """

    wire: str
    sdk: str
    store: str
    variable: str
    level: str
    unit: str
    definition: str
    also: tuple[str, ...] = ()
    computed: bool = False


def _hedge() -> Iterator[Field]:
    for depth, legs in LEGS.items():
        for leg in legs:
            yield Field(
                f"l{depth}_{SHORT[leg]}_hr",
                f"l{depth}_{leg}_hr",
                HEDGE,
                f"L{depth}_{leg}_HR",
                "",
                "USD/USD",
                f"dollars of the {leg} ETF per dollar long the stock in the hedge at L{depth}; negative: short",
            )
    for depth, legs in LEGS.items():
        for leg in (*legs, "residual"):
            what = f"the hedge at L{depth} leaves" if leg == "residual" else f"the {leg} level explains"
            yield Field(
                f"l{depth}_{SHORT[leg]}_er",
                f"l{depth}_{leg}_er",
                HEDGE,
                f"L{depth}_{leg}_ER",
                "",
                "1",
                f"share of the window's variance that {what}; not clipped, the shares of L{depth} add to 1",
            )


def _betas() -> Iterator[Field]:
    for depth, level in enumerate(LEVELS, 1):
        yield Field(
            f"l{depth}_{SHORT[level]}_beta",
            f"l{depth}_{level}_beta",
            BETAS,
            "factor_beta",
            level,
            "1",
            f"beta on the {level} level's cleaned factor after shrinkage; no hedge ratio",
        )


def _returns() -> Iterator[Field]:
    for depth, level in enumerate(LEVELS, 1):
        for wire, sdk, variable, what in (
            ("cfr", "combined_factor_return", "combined_factor_return", "factor returns down to the level, summed"),
            ("fr", "fr", "factor_return", "beta times the level's cleaned factor return"),
            ("rr", "residual_return", "residual_return", "return less the combined factor return of the level"),
        ):
            yield Field(f"l{depth}_{wire}", f"l{depth}_{sdk}", RETURNS, variable, level, "1", f"{what}, that session")
    yield Field(
        "lstar_rr",
        "lstar_residual_return",
        RETURNS,
        "residual_return",
        "lstar",
        "1",
        "residual return at the level that lstar_level says",
    )
    yield Field(
        "lstar_level",
        "lstar_level",
        RETURNS,
        "lstar_level",
        "",
        "1",
        "deepest level worth hedging: 1 market, 2 sector, 3 subsector; the stored 0 (none) is no value",
        computed=True,
    )


def _risk() -> Iterator[Field]:
    yield Field(
        "stock_var", "stock_var", HEDGE, "_stock_var", "", "1", "variance of the daily return in the window, weighted"
    )
    yield Field(
        "vol_23d",
        "vol_23d",
        HEDGE,
        "_stock_var",
        "",
        "1/sqrt(year)",
        "sqrt(252 stock_var); the name is older than the window, which has 252 sessions",
        also=("volatility",),
        computed=True,
    )
    for name, unit, definition in (
        ("vol_252d_ann", "1/sqrt(year)", "standard deviation (ddof 1) times sqrt(252)"),
        ("sharpe_ratio", "1/sqrt(year)", "mean over standard deviation (ddof 1), times sqrt(252)"),
    ):
        of = "of the returns of the last 252 sessions, at least 126 of them present"
        yield Field(name, name, DAILY, "return", "", unit, f"{definition} {of}", computed=True)


def _daily() -> Iterator[Field]:
    yield Field(
        "price_close",
        "price_close",
        DAILY,
        "close",
        "",
        "USD",
        "closing price as traded, not adjusted",
        also=("close_price",),
    )
    yield Field("market_cap", "market_cap", DAILY, "market_cap", "", "USD", "close times the shares known that session")
    yield Field("returns_gross", "returns_gross", DAILY, "return", "", "1", "total return since the last valid close")


FIELDS: tuple[Field, ...] = (*_hedge(), *_betas(), *_returns(), *_risk(), *_daily())
BY_WIRE = {field.wire: field for field in FIELDS}
_BY_NAME = {name: field for field in FIELDS for name in (field.wire, field.sdk, *field.also)}


def field(name: str) -> Field:
    """A field by any of its names. Raises BadQuestion.

    >>> field("l3_sub_hr").variable, field("l3_subsector_hr").wire, field("volatility").definition[:19]
    ('L3_subsector_HR', 'l3_sub_hr', 'sqrt(252 stock_var)')
    """
    if name not in _BY_NAME:
        raise BadQuestion(f"there is no field {str(name)[:40]!r}; docs/fields.md lists them")
    return _BY_NAME[name]


def sdk_name(name: str) -> str:
    """How a field is called in Python: an other name stays as it was asked for.

    >>> sdk_name("l1_mkt_beta"), sdk_name("volatility")
    ('l1_market_beta', 'volatility')
    """
    found = field(name)
    return name if name in found.also else found.sdk


def page() -> str:
    """docs/fields.md."""
    rows = [
        f"| {_names(f.wire)} | {_names(f.sdk, *f.also)} | `{f.store}` | `{f.variable}`"
        f"{f' at `{f.level}`' if f.level else ''} | {f.unit} | {f.definition} |"
        for f in FIELDS
    ]
    return "\n".join([_HEAD, *rows, ""])


def _names(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names)


_HEAD = """# Fields

What `erm3 metrics`, `pipeline.query` and the API give for a stock at a session. Written by
`python -m pipeline.query` from the table in `pipeline/query/fields.py`.

A number that is stored comes as it is stored; one without a value is null (empty in CSV), never 0.
What is computed from stored values is computed in float64. The stores are described in
[datasets.md](datasets.md), the formulas in [methodology.md](methodology.md).

| in the API | in Python | store | variable | unit | what |
|---|---|---|---|---|---|"""

PAGE = Path(__file__).parents[2] / "docs" / "fields.md"
