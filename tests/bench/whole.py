"""The whole model, from returns to published stores, on a synthetic panel of any size.

    python -m tests.bench.whole STOCKS SESSIONS

All stores are staged, audited and published by the engine. Only the first two steps are replaced: `ds_daily` and
`ds_etf` get synthetic values instead of those of a source. Prints seconds by step (JSON).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import xnys
from pipeline.engine import execution, family
from pipeline.engine.run import Run
from pipeline.settings import Settings
from pipeline.store.staged_store import StagedStore
from pipeline.store.windows import WarmUp, warm_up_file
from security_master import MASTER_FILE, build_master

FIRST_SESSION = "2006-01-03"


def securities(stocks: int) -> dict[str, pd.DataFrame]:
    """Tables of a synthetic roster: `stocks` stocks in all industries of the shipped taxonomy, and all factor ETFs."""
    from security_master.taxonomy import shipped

    taxonomy, factor_etfs = shipped("taxonomy"), shipped("factor_etfs")
    codes = [int(code) for code in taxonomy["fs_industry_code"]]
    etfs = dict.fromkeys(
        [*factor_etfs["etf"], *taxonomy["sector_etf"], *taxonomy["subsector_etf"], *factor_etfs["proxy"]]
    )
    names = [f"S{k:05d}" for k in range(stocks)] + [f"E:{ticker}" for ticker in etfs if ticker]
    tickers = [f"T{k:05d}" for k in range(stocks)] + [ticker for ticker in etfs if ticker]
    known = np.datetime64("2004-01-02T21:15", "us")
    frame = pd.DataFrame({"vendor_code": names, "ticker": tickers}).astype("str")
    for column in ("name", "share_class_figi", "composite_figi", "isin", "cusip", "cik"):
        frame[column] = pd.array([""] * len(frame), dtype="str")
    frame["type"] = pd.array(["common"] * stocks + ["etf"] * (len(names) - stocks), dtype="str")
    frame["exchange"], frame["currency"] = "US", "USD"
    frame["first_session"] = np.datetime64("2004-01-02", "s")
    frame["last_session"] = np.datetime64("NaT", "s")
    frame["known_from"], frame["known_assumed"] = known, False
    classes = pd.DataFrame(
        {
            "vendor_code": names[:stocks],
            "valid_from": np.datetime64("2004-01-02", "s"),
            "fs_industry_code": [str(codes[k % len(codes)]) for k in range(stocks)],
            "known_from": known,
            "known_assumed": False,
        }
    )
    return {"securities": frame, "classification": classes}


def run_whole_model(root: Path, stocks: int, sessions: int, settings: Settings | None = None) -> dict[str, float]:
    """Publish `sessions` sessions of `stocks` stocks under `root`; raises what the engine raises when a check fails.

    Seconds by step; `audits` is what they took longer than the steps, `publish` the publication.
    """
    with staged_model(root, stocks, 0, sessions, settings) as (run, seconds):
        began = time.perf_counter()
        execution.publish(run)
        seconds["publish"] = time.perf_counter() - began
    return seconds


@contextmanager
def staged_model(
    root: Path, stocks: int, begin: int, end: int, settings: Settings | None = None
) -> Iterator[tuple[Run, dict[str, float]]]:
    """A run over the sessions begin <= k < end since the first, staged, audited and ready to be published."""
    settings = (settings or Settings()).model_copy(update={"root": str(root)})
    days = xnys().sessions[xnys().ordinal(FIRST_SESSION) :]
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(phase: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds[phase] = time.perf_counter() - began

    with execution.begin(settings, days[begin], days[end - 1]) as run:
        _inputs(run, stocks)
        for name, write in (("ds_daily", _daily), ("ds_etf", _etf)):
            with timed(name):
                write(run, stocks)
                checks = execution.audit_store(run, name)
                assert all(check.passed for check in checks), [c for c in checks if not c.passed]
        execution.stage_stores(run, family.stores(settings)[2:], timed)
        yield run, seconds


def _inputs(run: Run, stocks: int) -> None:
    previous = run.stage.published_file(MASTER_FILE, run.scratch / "master_before.sqlite")
    path = run.scratch / MASTER_FILE
    report = build_master(path, securities(stocks), batch_id=run.stage.run_id, previous=previous)
    run.remember_inputs({"origins": {}, "build_id": report.build_id, "not_delivered": [], "left_out": []})
    run.stage.add_file(MASTER_FILE, path)


def _factors(run: Run) -> tuple[NDArray, NDArray]:
    """(sessions from run.reads_from on, E) returns of the factor ETFs, and of the market."""
    length = run.last - run.reads_from + 1
    random = np.random.default_rng(20060103)
    market = random.standard_t(5, length) * 0.008
    own = random.standard_t(5, (length, len(run.etf_ids))) * 0.006
    etf = 1.0 * market[:, None] + own
    etf[:, run.etfs.market] = market
    return etf, market


def _stocks(run: Run, stocks: int) -> tuple[list[str], NDArray]:
    """Permanent ids of the stocks and their industry codes."""
    roster = run.master.roster()
    ids = roster.loc[roster["sec_type"] == "common", "sec_id"].tolist()
    last = run.days(run.first, run.first)
    return ids, run.master.classification_panel(ids, last, run.instants(run.first, run.first))[:, 0]


def _daily(run: Run, stocks: int) -> None:
    etf, market = _factors(run)
    taxonomy = run.master.taxonomy()
    flags = {"fs_industry_code": list(zip(taxonomy["fs_industry_code"], taxonomy["industry"], strict=True))}
    store = run.create("ds_daily", flags)
    ids, industry = _stocks(run, stocks)
    run.extend(store, ids)
    sector, subsector = run.assignment(np.repeat(industry[:, None], 1, axis=1), run.last, run.last)
    everything, random = slice(0, len(ids)), np.random.default_rng(1)
    beta = random.normal((1.0, 0.5, 0.5), (0.3, 0.3, 0.3), (len(ids), 3)).T
    size = np.exp(random.normal(21, 1.5, len(ids)))
    price = np.full(len(ids), 40.0)

    def block(first: int, last: int) -> dict[str, NDArray]:
        nonlocal price
        rows = slice(first - run.reads_from, last - run.reads_from + 1)
        noise = random.standard_t(4, (last - first + 1, len(ids))) * 0.01
        legs = (market[rows, None], etf[rows][:, sector[:, 0]], etf[rows][:, subsector[:, 0]])
        r = noise + sum(b * leg for b, leg in zip(beta, legs, strict=True))
        close = price * np.exp(np.cumsum(0.2 * r - 0.02 * (r * r), axis=0))
        price = close[-1]
        volume = np.round(np.exp(random.normal(13, 1, r.shape)))
        r[random.random(r.shape) < 0.002] = np.nan
        return {"return": r, "close": close, "volume": volume, "market_cap": size * close}

    if run.needs_warm_up:
        _keep_warm_up(run, store, block(run.warm_up_first, run.published_first - 1))
    for first, last in run.blocks(store):
        values, rows = block(first, last), run.rows(store, first, last)
        codes = np.broadcast_to(industry, values["return"].shape).astype(np.int16)
        flags_of = np.where(np.isnan(values["return"]), 32, 1).astype(np.int16)
        for var, found in {**values, "fs_industry_code": codes, "return_flag": flags_of}.items():
            store.write(var, rows, everything, found)
    run.label(store)
    store.close()


def _etf(run: Run, stocks: int) -> None:
    etf, _ = _factors(run)
    store = run.create("ds_etf")
    symbols = run.extend(store, [s for s in run.etf_ids if s])
    held = etf[:, [k for k, s in enumerate(run.etf_ids) if s]]
    for first, last in run.blocks(store):
        block = held[first - run.reads_from : last - run.reads_from + 1]
        for var, values in (("return", block), ("close", 50.0 + block), ("volume", np.full(block.shape, 1e6))):
            store.write(var, run.rows(store, first, last), slice(0, len(symbols)), values)
    if run.needs_warm_up:
        _keep_warm_up(run, store, {"return": held[: run.published_first - run.warm_up_first]})
    run.label(store)
    store.close()


def _keep_warm_up(run: Run, store: StagedStore, values: dict[str, NDArray]) -> None:
    kept = WarmUp(run.warm_up_first, store.symbol, {var: block.astype(np.float32) for var, block in values.items()})
    kept.save(run.scratch / warm_up_file(store.name))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        stocks, sessions = map(int, sys.argv[1:3])
        print(json.dumps(run_whole_model(Path(directory), stocks, sessions)))
