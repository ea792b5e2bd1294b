"""What can be asked, with limits: parameters and bodies of requests, and the schemas of answers for the description."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from pipeline.query.fields import FIELDS
from pipeline.query.names import NAME
from pipeline.query.portfolio import MOST_NAMES

PATTERN = f"^(?:{NAME.pattern})$"
DAY = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
NAMED = "A ticker in any spelling, as it was on the day; `X#N`, the N-th security that had it; or a permanent id."

Name = Annotated[str, Field(pattern=PATTERN, max_length=24)]
Ticker = Annotated[str, Query(pattern=PATTERN, max_length=24, description=NAMED, examples=["AAPL"])]
InPath = Annotated[str, Path(pattern=PATTERN, max_length=24, description=NAMED, examples=["AAPL"])]
AsOf = Annotated[
    str | None, Query(pattern=DAY, description="Nothing dated later enters the answer.", examples=["2023-06-30"])
]
Day = Annotated[
    str | None, Query(pattern=DAY, description="The last session at or before it.", examples=["2023-06-30"])
]
Years = Annotated[int, Query(ge=1, le=27, description="Years up to the day.")]
Threshold = Annotated[
    float | None, Query(ge=0, le=0.5, allow_inf_nan=False, description="Decides anew; default: as published.")
]
Market = Annotated[str | None, Query(max_length=24, description="That of the publication; others: 404.")]
Publication = Annotated[str | None, Query(max_length=120, description="An earlier publication by its id.")]
Rows = Annotated[int | None, Query(ge=1, le=10000, description="The last rows only.")]
Peers = Annotated[int | None, Query(ge=1, le=500, description="Fewest companies; that of the stores by default.")]
Fields = Annotated[
    str,
    Query(pattern="^[a-z0-9_,]{1,600}$", description="Names of docs/fields.md, with commas.", examples=["vol_23d"]),
]
Universe = Annotated[str, Path(pattern="^[a-z0-9_]{1,32}$", examples=["uni_mc_3000"])]


class Form(StrEnum):
    """How an answer is written."""

    json = "json"
    csv = "csv"
    parquet = "parquet"


class Metric(StrEnum):
    """What a rank is of."""

    mkt_cap = "mkt_cap"
    gross_return = "gross_return"
    sector_residual = "sector_residual"
    subsector_residual = "subsector_residual"
    er_l1 = "er_l1"
    er_l2 = "er_l2"
    er_l3 = "er_l3"


class Cohort(StrEnum):
    """Among whom a rank is."""

    universe = "universe"
    sector = "sector"
    subsector = "subsector"


class Window(StrEnum):
    """Sessions of a compounded return."""

    d1 = "1d"
    d21 = "21d"
    d63 = "63d"
    d252 = "252d"


class Level(StrEnum):
    """Levels of the cascade."""

    market = "market"
    sector = "sector"
    subsector = "subsector"


class Depth(StrEnum):
    """Hedges."""

    L1 = "L1"
    L2 = "L2"
    L3 = "L3"


class Sleeve(StrEnum):
    """Which factor ETFs."""

    market = "market"
    sector = "sector"
    all = "all"


class Batch(StrEnum):
    """What a batch tells of each stock."""

    full_metrics = "full_metrics"
    hedge_ratios = "hedge_ratios"
    returns = "returns"
    l3_decomposition = "l3_decomposition"


class Body(BaseModel):
    """A body: names that are not known are left alone, since clients of other servers send more."""

    model_config = ConfigDict(extra="ignore", strict=False)


class Decompose(Body):
    ticker: Name
    as_of: Annotated[str | None, Field(pattern=DAY)] = None
    model_config = ConfigDict(json_schema_extra={"examples": [{"ticker": "AAPL", "as_of": "2023-06-30"}]})


Tickers = Annotated[list[Name], Field(min_length=1, max_length=100)]


class Analyze(Body):
    tickers: Tickers
    metrics: Annotated[list[Batch], Field(min_length=1, max_length=8)] = Field(
        default_factory=lambda: [Batch.full_metrics]
    )
    years: Annotated[int, Field(ge=1, le=27)] = 1
    format: Form = Form.json
    model_config = ConfigDict(json_schema_extra={"examples": [{"tickers": ["AAPL"], "metrics": ["full_metrics"]}]})


class Depths(Body):
    tickers: Tickers
    years: Annotated[int, Field(ge=1, le=27)] = 1
    threshold: Annotated[float | None, Field(ge=0, le=0.5, allow_inf_nan=False)] = None
    market_factor_etf: Annotated[str | None, Field(max_length=24)] = None
    format: Form = Form.json
    model_config = ConfigDict(json_schema_extra={"examples": [{"tickers": ["AAPL", "MSFT"], "years": 1}]})


class Screen(Body):
    metric: Metric
    cohort: Cohort = Cohort.universe
    window: Window = Window.d1
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    min_percentile: Annotated[float | None, Field(ge=0, le=100, allow_inf_nan=False)] = None
    decile: Annotated[int | None, Field(ge=1, le=10)] = None
    sector_filter: Annotated[str | None, Field(pattern="^[A-Za-z.]{1,12}$")] = None
    as_of: Annotated[str | None, Field(pattern=DAY)] = None
    format: Form = Form.json
    model_config = ConfigDict(json_schema_extra={"examples": [{"metric": "gross_return", "window": "21d"}]})


class Portfolio(Body):
    positions: Annotated[
        dict[Name, Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1, max_length=MOST_NAMES)
    ]
    level: Depth = Depth.L3
    as_of: Annotated[str | None, Field(pattern=DAY)] = None
    model_config = ConfigDict(json_schema_extra={"examples": [{"positions": {"AAPL": 100000, "MSFT": -50000}}]})


ERROR = {
    "type": "object",
    "required": ["error", "message"],
    "properties": {
        "error": {"type": "string", "description": "What it is, for programs."},
        "message": {"type": "string", "description": "What it is, for people."},
        "candidates": {"type": "array", "items": {"type": "string"}},
    },
}
_MEANS = {
    400: "What was asked cannot be understood",
    401: "No key, or another one",
    404: "Nobody of that name on that day, or nothing at or before it",
    409: "Several answer to the name, or an axis that this data does not have",
    413: "More than 1 MB",
    422: "Not enough data to compute it",
    429: "Too many requests a minute",
    503: "Nothing can be read at the moment",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": what,
        "content": {"application/json": {"schema": ERROR, "example": {"error": "not_found", "message": what}}},
    }
    for status, what in _MEANS.items()
}
EXAMPLES: dict[str, Any] = {
    "data": [{"date": "2023-12-29", "returns_gross": 0.0123, "price_close": 192.53}],
    "exposure": {"market": {"er": 0.41, "hr": -0.32, "hedge_etf": "SPY"}},
    "dates": ["2023-12-29"],
    "lstar": ["L3"],
    "results": {"AAPL": {"ticker": "AAPL", "status": "success"}},
    "dollars": {"SPY": -120000.0, "XLK": -45000.0},
    "industries": [{"industry_code": 2510, "level": "market", "beta_mean": 1.1, "n_companies": 120}],
    "rankings": [{"symbol": "S26MATVKN", "ticker": "AAPL", "rank_ordinal": 1, "rank_percentile": 100.0}],
    "members": [{"symbol": "S26MATVKN", "ticker": "AAPL"}],
    "rows": [{"ticker": "SPY", "sleeve": "market", "close": 475.3, "returns": {"1d": -0.003}}],
    "securities": [{"symbol": "S26MATVKN", "ticker": "AAPL", "first": "1980-12-12", "last": None}],
    "publication": "000001-20190103_20231229_559174f1",
    "metrics": {"l3_mkt_hr": -0.32, "l3_res_er": 0.41, "vol_23d": 0.28},
}


def answers(*keys: str, tabular: bool = True, **properties: Any) -> dict[int | str, dict[str, Any]]:
    """The answers of an address, for the description: the keys that a document always has."""
    schema = {"type": "object", "required": list(keys), "properties": properties}
    example = {key: EXAMPLES[key] for key in keys}
    content: dict[str, Any] = {"application/json": {"schema": schema, "example": example}}
    if tabular:
        content["text/csv"] = {"schema": {"type": "string"}}
        content["application/vnd.apache.parquet"] = {"schema": {"type": "string", "format": "binary"}}
    unchanged = {"description": "What the reader has is still right."}
    return {200: {"description": "The answer.", "content": content}, 304: unchanged, **ERRORS}


_KINDS = {"lstar_level": "integer"}
METRICS = answers(
    "metrics",
    metrics={
        "type": "object",
        "properties": {
            field.wire: {
                "type": [_KINDS.get(field.wire, "number"), "null"],
                "description": f"{field.definition} [{field.unit}]",
            }
            for field in FIELDS
        },
    },
)
