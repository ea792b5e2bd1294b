"""One store more, in one file: what a newcomer writes to add one."""

from __future__ import annotations

import numpy as np

from pipeline.audits import Check, Scope, Worst, means
from pipeline.datasets.shared import STOCKS
from pipeline.datasets.spec import StoreShape, VariableSpec
from pipeline.engine.figures import Series, mean
from pipeline.engine.product import Lines, Picture, Product
from pipeline.engine.run import Run
from pipeline.store.staged_store import StagedStore

SHAPE = StoreShape(
    "ds_turnover",
    "market data",
    "Turnover",
    "Value of the shares traded.",
    coordinates=STOCKS,
    variables=(
        VariableSpec(
            "turnover", ("teo", "symbol"), "float32", "close times volume", "USD", "NaN where either is not known"
        ),
    ),
    lineage=("ds_daily",),
)


def stage(run: Run, name: str) -> None:
    daily, store = run.input_of(name, "ds_daily"), run.create(name)
    symbols = run.extend(store, daily.symbol)
    for first, last in run.blocks(store):
        close, volume = (daily.read(var, run.rows(daily, first, last)) for var in ("close", "volume"))
        store.write("turnover", run.rows(store, first, last), slice(0, len(symbols)), close * volume)
        run.done(store, last)
    run.label(store)
    store.close()


@means(turnover_recomputed="Turnover is the published close times the published volume.")
def turnover_recomputed(name: str, scope: Scope) -> Check:
    view, daily = scope.family.view(name), scope.family.view("ds_daily")
    worst = Worst("turnover_recomputed", name, 1.0, "|turnover - close x volume|, in dollars")
    for first, last in scope.blocks():
        rows, columns = scope.rows(view, first, last), slice(0, len(view.symbol))
        close, volume = (daily.read(var, scope.rows(daily, first, last), columns) for var in ("close", "volume"))
        worst.add(np.abs(view.read("turnover", rows, columns) - close * volume), 1.0, view.teo[rows], view.symbol)
    return worst.check()


def figures(run: Run, store: StagedStore, rows: slice) -> Series:
    return {"mean turnover": mean(store.read("turnover", rows))}


def pictures(run: Run, name: str) -> list[Picture]:
    return [Lines("turnover over the last year", {"mean turnover": "mean"}, "USD")]


PRODUCT = Product(SHAPE, stage, audits=(turnover_recomputed,), figures=figures, pictures=pictures)
