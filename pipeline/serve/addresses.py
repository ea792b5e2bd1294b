"""The addresses. Each names its question and hands it to one answer, which is made from one publication."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from pipeline.query import QueryFamily, SeveralAnswers
from pipeline.query.errors import BadQuestion, one_of
from pipeline.serve import answers, batches
from pipeline.serve import questions as q
from pipeline.serve.answers import Answer
from pipeline.serve.encoding import answer
from pipeline.serve.live import Live

router = APIRouter(prefix="/api")


class Asked:
    """A request: which publication answers it, and in which form. Called with an answer and what it is about."""

    form = "json"
    market: str | None = None

    def __init__(self, request: Request, publication: q.Publication = None) -> None:
        self.request, self.publication = request, publication

    def __call__(self, make: Callable[..., Answer], *about: Any, **more: Any) -> Response:
        live: Live = self.request.app.state.live

        def answered(family: QueryFamily) -> Response:
            answers.market_only(family, self.market)
            return answer(self.request, family, lambda: make(family, *about, **more), self.form)

        return live.answered(self.publication, answered)


class InForm(Asked):
    def __init__(self, request: Request, publication: q.Publication = None, format: q.Form = q.Form.json) -> None:
        super().__init__(request, publication)
        self.form = format.value


class OfMarket(InForm):
    def __init__(
        self,
        request: Request,
        market_factor_etf: q.Market = None,
        publication: q.Publication = None,
        format: q.Form = q.Form.json,
    ) -> None:
        super().__init__(request, publication, format)
        self.market = market_factor_etf


Json = Annotated[Asked, Depends()]
Tabular = Annotated[InForm, Depends()]
Marketed = Annotated[OfMarket, Depends()]

# -- one stock ----------------------------------------------------------------------------------------------------


@router.get("/metrics/{ticker}", responses=q.METRICS)
def metrics(asked: Tabular, ticker: q.InPath, as_of: q.AsOf = None) -> Response:
    """All fields of a stock at its last session with a hedge ratio."""
    return asked(answers.metrics, ticker, as_of)


@router.get("/ticker-returns", responses=q.answers("data"))
def ticker_returns(
    asked: Tabular, ticker: q.Ticker, years: q.Years = 1, limit: q.Rows = None, as_of: q.AsOf = None
) -> Response:
    """Daily returns and closes; of a stock also factor returns, L3 hedge ratios and shares."""
    return asked(answers.ticker_returns, ticker, years, limit, as_of)


@router.post("/decompose", responses=q.answers("exposure", tabular=False))
def decompose(asked: Json, body: q.Decompose) -> Response:
    """A stock in its layers, at the deepest level that has values."""
    return asked(answers.decompose, body.ticker, body.as_of)


@router.get("/l3-decomposition", responses=q.answers("dates"))
def l3_decomposition(asked: Marketed, ticker: q.Ticker, years: q.Years = 1, as_of: q.AsOf = None) -> Response:
    """L3 hedge ratios and shares through time."""
    return asked(answers.l3_decomposition, ticker, years, as_of)


@router.get("/returns-decomposition", responses=q.answers("dates"))
def returns_decomposition(
    asked: Marketed,
    ticker: q.Ticker,
    years: q.Years = 1,
    include_lstar: bool = False,
    threshold: q.Threshold = None,
    as_of: q.AsOf = None,
) -> Response:
    """Gross, factor, combined and residual returns at each level."""
    return asked(answers.returns_decomposition, ticker, years, as_of, include_lstar, threshold)


@router.get("/lstar", responses=q.answers("lstar"))
def lstar(
    asked: Marketed, ticker: q.Ticker, years: q.Years = 1, threshold: q.Threshold = None, as_of: q.AsOf = None
) -> Response:
    """The depth worth hedging, with its ratios and residual."""
    return asked(answers.lstar, ticker, years, threshold, as_of)


@router.get("/series", responses=q.answers("dates"))
def series(asked: Tabular, ticker: q.Ticker, fields: q.Fields, years: q.Years = 1, as_of: q.AsOf = None) -> Response:
    """Any fields of a stock through time, and the ETFs used."""
    names = [name for name in fields.split(",") if name]
    if not names:
        raise BadQuestion("fields is empty; name at least one", code="empty_fields")
    return asked(answers.series, ticker, names, years, as_of)


# -- several stocks -----------------------------------------------------------------------------------------------


@router.post("/batch/analyze", responses=q.answers("results"))
def batch_analyze(asked: Json, body: q.Analyze) -> Response:
    """Up to 100 stocks at once. As a table: metrics, else hedge ratios, else returns."""
    asked.form, wanted = body.format.value, [str(metric) for metric in body.metrics]

    def make(family: QueryFamily) -> Answer:
        document = batches.analyze(family, body.tickers, wanted, body.years)
        return document, None if asked.form == "json" else batches.analyzed_table(document, wanted)

    return asked(make)


@router.post("/batch/lstar", responses=q.answers("results"))
def batch_lstar(asked: Json, body: q.Depths) -> Response:
    """Hedge depths of up to 100 stocks."""
    asked.form, asked.market = body.format.value, body.market_factor_etf
    return asked(batches.depths, body.tickers, body.years, body.threshold)


@router.post("/portfolio", responses=q.answers("dollars", tabular=False))
def portfolio(asked: Json, body: q.Portfolio) -> Response:
    """A portfolio's hedge, its risk and the bridge of its last year."""
    return asked(answers.portfolio, body.positions, body.level.value, body.as_of)


# -- cross sections -----------------------------------------------------------------------------------------------


@router.get("/industry-panel", responses=q.answers("industries"))
def industry_panel(
    asked: Marketed,
    teo: q.Day = None,
    date: q.Day = None,
    level: q.Level | None = None,
    min_peers: q.Peers = None,
    by: Annotated[str, Query(max_length=16)] = "level",
    change: Annotated[str | None, Query(max_length=8)] = None,
) -> Response:
    """Mean and dispersion of the betas of every industry. `date` is another name of `teo`."""
    if by == "fact":
        no_axis = "the panel is kept by industry and level, not by ETF"
        raise SeveralAnswers(no_axis, code="industry_panel_fact_axis_unavailable")
    one_of("by", by, ("level",))
    return asked(answers.industry_panel, teo or date, level and level.value, min_peers, change)


@router.post("/rankings/screen", responses=q.answers("rankings"))
def screen(asked: Json, body: q.Screen) -> Response:
    """Valid members of the universe, ranked and filtered."""
    asked.form = body.format.value
    filters = body.model_dump(include={"min_percentile", "decile", "sector_filter", "limit"})
    return asked(answers.screen, body.metric.value, body.cohort.value, body.window.value, body.as_of, **filters)


@router.get("/rankings/top", responses=q.answers("rankings"))
def top(
    asked: Tabular,
    metric: q.Metric,
    cohort: q.Cohort = q.Cohort.universe,
    window: q.Window = q.Window.d1,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    as_of: q.AsOf = None,
) -> Response:
    """Members with the best ranks."""
    return asked(answers.screen, metric.value, cohort.value, window.value, as_of, limit=limit)


@router.get("/rankings/{ticker}", responses=q.answers("rankings"))
def rankings(
    asked: Tabular,
    ticker: q.InPath,
    metric: q.Metric | None = None,
    cohort: q.Cohort | None = None,
    window: q.Window | None = None,
    as_of: q.AsOf = None,
) -> Response:
    """All ranks of one stock."""
    chosen = [None if choice is None else choice.value for choice in (metric, cohort, window)]
    return asked(answers.rankings, ticker, *chosen, as_of)


@router.get("/universe/{name}/members", responses=q.answers("members"))
def members(asked: Tabular, name: q.Universe, teo: q.Day = None) -> Response:
    """Valid members of a universe."""
    return asked(answers.members, name, teo)


@router.get("/etf/factor-returns", responses=q.answers("rows"))
def etf_returns(
    asked: Tabular,
    sleeve: q.Sleeve = q.Sleeve.all,
    tickers: Annotated[str | None, Query(max_length=200, pattern="^[A-Za-z., ]*$")] = None,
    teo: q.Day = None,
) -> Response:
    """Close and compounded returns of the market and sector ETFs."""
    wanted = [ticker.strip() for ticker in (tickers or "").split(",") if ticker.strip()]
    return asked(answers.etf_returns, sleeve.value, wanted or None, teo)


@router.get("/tickers", responses=q.answers())
def tickers(
    asked: Tabular,
    search: Annotated[str | None, Query(max_length=64)] = None,
    mag7: bool = False,
    include_metadata: bool = False,
    as_of: q.AsOf = None,
) -> Response:
    """Members of the universe, or what a text finds."""
    return asked(answers.tickers, search, mag7, include_metadata, as_of)


# -- what the page asks beside the rest ---------------------------------------------------------------------------


@router.get("/securities", responses=q.answers("securities", tabular=False))
def securities(asked: Json, search: Annotated[str, Query(max_length=64)], as_of: q.AsOf = None) -> Response:
    """Who has, or has had, a ticker or a name like this."""
    return asked(answers.securities, search, as_of)


@router.get("/industry-history", responses=q.answers("dates"))
def industry_history(
    asked: Tabular,
    industry: Annotated[int, Query(ge=1, le=9999)],
    level: q.Level = q.Level.subsector,
    as_of: q.AsOf = None,
) -> Response:
    """One industry through time."""
    return asked(answers.industry_history, industry, level.value, as_of)


@router.get("/status", responses=q.answers("publication", tabular=False))
def status(asked: Json) -> Response:
    """What is published, and what data quality withheld at the last session."""
    return asked(answers.status)


@router.get("/health", responses={200: {"description": "The server answers."}})
def health() -> dict[str, str]:
    """Whether the server answers. Needs no key."""
    return {"status": "healthy"}
