"""`erm3 metrics`, `returns`, `panel` and the others: what is published, asked by ticker, portfolio or industry."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.console import DAY, AsJson, Root, out, print_json, print_rows, print_table, settings_of

if TYPE_CHECKING:
    from pipeline.query import QueryFamily, Table

app = typer.Typer()


class Format(StrEnum):
    """How an answer is written."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


Whom = Annotated[
    str, typer.Argument(metavar="WHO", help="A ticker as it was then, X#N (the N-th that had it), or an id.")
]
AsOf = Annotated[
    datetime | None, typer.Option("--as-of", formats=DAY, help="Nothing dated later counts; default: the last session.")
]
Publication = Annotated[str | None, typer.Option(help="An earlier publication (`erm3 history` lists them).")]
Form = Annotated[Format, typer.Option("--format", help="For people, or for programs; --json is short for one.")]
Out = Annotated[Path | None, typer.Option("--out", help="File to write; standard output by default.")]
Years = Annotated[int, typer.Option(min=1, max=27, help="Years up to --as-of.")]


@app.command()
def metrics(
    who: Whom,
    as_of: AsOf = None, root: Root = None, publication: Publication = None, form: Form = Format.table, out: Out = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """All fields of a stock at its last session with a hedge ratio (docs/fields.md says what they are)."""
    form = Format.json if as_json else form
    from pipeline.query.fields import BY_WIRE

    found = _opened(root, publication).metrics(who, as_of)
    if form is Format.table:
        etfs = ", ".join(f"{k.replace('_etf', ' ETF')} {v or '-'}" for k, v in found["meta"].items() if "etf" in k)
        _say(f"{found['ticker']} ({found['symbol']}) at {found['teo']}; {etfs}")
        rows = [(w, value, BY_WIRE[w].unit, BY_WIRE[w].definition) for w, value in found["metrics"].items()]
        print_rows(("field", "value", "unit", "what"), rows, left={0, 2, 3})
        return
    row = {"ticker": found["ticker"], "date": found["teo"], **found["metrics"]}
    _emit(_one_row(row), form, out, found)


@app.command()
def decompose(
    who: Whom,
    as_of: AsOf = None, root: Root = None, publication: Publication = None, form: Form = Format.table, out: Out = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """A stock in its four layers: share of the risk, hedge ratio, and the ETF to trade."""
    form = Format.json if as_json else form
    from pipeline.query.table import Table, texts

    found = _opened(root, publication).decompose(who, as_of)
    import numpy as np

    parts = found["exposure"]
    table = Table(
        {
            "layer": texts(list(parts)),
            **{key: np.array([p[key] for p in parts.values()], float).astype(np.float32) for key in ("er", "hr")},
            "hedge_etf": texts([p["hedge_etf"] for p in parts.values()]),
        },
        "layer",
    )
    _emit(table, form, out, found, f"{found['ticker']} ({found['symbol']}) at {found['teo']}")


@app.command()
def returns(
    who: Whom,
    years: Years = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="The last N sessions only.")] = None,
    as_of: AsOf = None, root: Root = None, publication: Publication = None, form: Form = Format.table, out: Out = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Daily returns, closes, factor returns, L3 hedge ratios and shares of a stock; of an ETF returns and closes."""
    form = Format.json if as_json else form
    table = _opened(root, publication).ticker_returns(who, years, as_of)
    table = table if limit is None else table.tail(limit)
    _emit(table, form, out, {**table.attrs, "data": table.rows()} if form is Format.json else None)


@app.command()
def lstar(
    who: Whom,
    years: Years = 1,
    threshold: Annotated[float | None, typer.Option(help="0 to 0.5; by default the published level.")] = None,
    as_of: AsOf = None, root: Root = None, publication: Publication = None, form: Form = Format.table, out: Out = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """The depth worth hedging (L1, L2, L3) at each session, with its ratios and residual."""
    form = Format.json if as_json else form
    table = _opened(root, publication).lstar(who, years, threshold, as_of)
    _emit(table, form, out, {**table.attrs, **table.columns} if form is Format.json else None)


@app.command()
def panel(
    level: Annotated[str | None, typer.Option(help="market, sector or subsector; all of them by default.")] = None,
    min_peers: Annotated[int | None, typer.Option(help="Fewest companies, 1 to 500.")] = None,
    change: Annotated[str | None, typer.Option(help="1m: beside the session a month earlier.")] = None,
    as_of: AsOf = None, root: Root = None, publication: Publication = None, form: Form = Format.table, out: Out = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Mean and dispersion of the betas of every industry."""
    form = Format.json if as_json else form
    table = _opened(root, publication).industry_panel(as_of, level, min_peers, change)
    _emit(
        table,
        form,
        out,
        {**table.attrs, "industries": table.rows()} if form is Format.json else None,
        f"Industries at {table.attrs['teo']}",
    )


@app.command()
def portfolio(
    file: Annotated[Path, typer.Argument(help="CSV of ticker and dollars (or weight); negative is short.")],
    level: Annotated[str, typer.Option(help="Hedge market (L1), and sector (L2), and subsector (L3).")] = "L3",
    as_of: AsOf = None, root: Root = None, publication: Publication = None, form: Form = Format.table, out: Out = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """A portfolio's hedge in dollars of each ETF, where its risk comes from, and what has no hedge ratio."""
    form = Format.json if as_json else form
    import numpy as np

    from pipeline.query import NotComputable, Table
    from pipeline.query.positions import read_positions
    from pipeline.query.table import texts

    held, family = read_positions(file), _opened(root, publication)
    hedge = family.portfolio_hedge(held, as_of, level)
    try:
        risk: dict[str, Any] = family.portfolio_decomposition(held, as_of)
    except NotComputable as reason:
        risk = {"realised": None, "why": str(reason)}
    table = Table({"etf": texts(list(hedge.dollars)), "dollars": np.array(list(hedge.dollars.values()))}, "etf")
    told = {**vars(hedge), "hedge_ratios": family.portfolio_hedge_ratios(held, as_of), "risk": risk}
    _emit(table, form, out, told, f"{len(held)} positions at {hedge.teo}, hedged at {level}: dollars of each ETF")
    if form is Format.table:
        if risk["realised"] is None:
            _say(f"Risk: {risk['why']}.")
        else:
            _say("Realised risk: " + ", ".join(f"{k} {v:.4g}" for k, v in risk["realised"].items()))
        for name, why in hedge.missing.items():
            _say(f"Not hedged: {name}: {why}")


@app.command()
def bridge(
    who: Annotated[str, typer.Argument(help="A ticker, X#N, an id, or a CSV of a portfolio (ticker and weight).")],
    start: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="First session.")] = None,
    end: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="Last session; names as on it.")] = None,
    root: Root = None, publication: Publication = None, form: Form = Format.table, out: Out = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """A compounded return in bars that add up: market, sector, subsector, residual."""
    form = Format.json if as_json else form
    import numpy as np

    from pipeline.query import Table
    from pipeline.query.positions import read_positions
    from pipeline.query.table import texts

    whom: Any = read_positions(Path(who)) if who.lower().endswith(".csv") else who
    found = _opened(root, publication).return_bridge(whom, start, end)
    table = Table({"bar": texts(list(found["bars"])), "return": np.array(list(found["bars"].values()))}, "bar")
    _emit(table, form, out, found, f"{found['start']} to {found['end']}, {found['sessions']} sessions")


@app.command()
def screen(
    metric: Annotated[
        str, typer.Argument(help="mkt_cap, gross_return, sector_residual, subsector_residual, er_l1, er_l2, er_l3.")
    ],
    cohort: Annotated[str, typer.Option(help="universe; sector, subsector: of the same ETF.")] = "universe",
    window: Annotated[str, typer.Option(help="1d, 21d, 63d or 252d.")] = "1d",
    limit: Annotated[int, typer.Option(help="1 to 500.")] = 25,
    min_percentile: Annotated[float | None, typer.Option(help="0 to 100, 100 is best.")] = None,
    decile: Annotated[int | None, typer.Option(help="1 (best) to 10.")] = None,
    sector: Annotated[str | None, typer.Option(help="Only stocks of this sector ETF.")] = None,
    as_of: AsOf = None, root: Root = None, publication: Publication = None, form: Form = Format.table, out: Out = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """The valid members of the universe, ranked."""
    form = Format.json if as_json else form
    table = _opened(root, publication).screen(
        metric, cohort, window, as_of, min_percentile=min_percentile, decile=decile, sector_filter=sector, limit=limit
    )
    head = f"{metric}, {cohort}, {window} at {table.attrs['teo']}: {table.attrs['matched_count']} match"
    _emit(table, form, out, {**table.attrs, "rankings": table.rows()} if form is Format.json else None, head)


@app.command()
def tickers(
    as_of: AsOf = None,
    root: Root = None,
    publication: Publication = None,
    form: Form = Format.table,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Who is in the universe: the valid members with their names, sectors and the ETFs of both levels."""
    form = Format.json if as_json else form
    from pipeline.query import Table, universe
    from pipeline.query.table import texts

    family = _opened(root, publication)
    told = universe.tickers(family, as_of, metadata=True)
    known = {ticker: {"ticker": ticker, **about} for ticker, about in told["metadata"].items()}
    names = ("ticker", "name", "sector", "sector_etf", "subsector_etf")
    table = Table({name: texts([about[name] for about in known.values()]) for name in names}, "ticker")
    head = f"{len(known)} members of {family.universe} at {family.teo(family.on(as_of).session)}"
    _emit(table, form, out, list(known.values()), head)


def _opened(root: str | None, publication: str | None) -> QueryFamily:
    from pipeline.query import open_family

    settings = settings_of(root=root)
    return open_family(settings.root, publication)


def _say(text: str) -> None:
    out.print(text)


def _one_row(row: Mapping[str, Any]) -> Table:
    import numpy as np

    from pipeline.query.table import Table, texts

    def column(value: Any) -> Any:
        return texts([value]) if isinstance(value, str) else np.array([np.nan if value is None else value])

    return Table({name: column(value) for name, value in row.items()}, "ticker")


def _emit(table: Table, form: Format, path: Path | None, document: Any, head: str | None = None) -> None:
    """An answer in the form asked for; `document` is what JSON says."""
    from pipeline.query.table import plain

    if form is Format.table:
        if path is not None:
            raise typer.BadParameter("--out is for --format json, csv or parquet")
        if head:
            _say(head)
        print_table(table)
    elif form is Format.json and path is None:
        print_json(plain(document))
    else:
        import json

        data = json.dumps(plain(document)).encode() if form is Format.json else table.encoded(form.value)
        _write(data, path, form)


def _write(data: bytes, path: Path | None, form: Format) -> None:
    from security_master.errors import at_file

    if path is not None:
        with at_file(path):
            path.write_bytes(data)
    elif form is Format.parquet and sys.stdout.isatty():
        raise typer.BadParameter("Parquet is no text: name a file with --out")
    else:
        sys.stdout.buffer.write(data)


@app.command()
def serve(
    root: Root = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; another than the loopback needs ERM3_API_KEY.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    rate: Annotated[
        int, typer.Option(min=0, help="Requests a minute of one key, which each worker counts; 0 for no limit.")
    ] = 600,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer: one for each processor.")] = 1,
) -> None:
    """Answer over HTTP under /api, with a page at /. It follows each new publication.

    The key that requests must bring is in ERM3_API_KEY; without it there is none, and only the loopback is listened at.
    """
    import os

    try:
        import uvicorn

        from pipeline.serve import app
    except ModuleNotFoundError as missing:
        raise typer.BadParameter(f"{missing.name} is not installed: pip install 'erm3[serve]'") from None
    key = os.environ.get(app.KEY) or None
    if key is None and host not in ("127.0.0.1", "::1", "localhost"):
        raise typer.BadParameter(f"set ERM3_API_KEY: without a key {host} may not be listened at", param_hint="--host")
    where = settings_of(root=root).root
    _say(f"http://{host}:{port}/ answers from {where}; {'with a key' if key else 'no key is asked for'}")
    os.environ |= {app.ROOT: where, app.RATE: str(rate)}
    uvicorn.run(
        f"{app.__name__}:{app.told_to_serve.__name__}",
        factory=True,
        workers=workers,
        host=host,
        port=port,
        log_level="warning",
        server_header=False,
    )
