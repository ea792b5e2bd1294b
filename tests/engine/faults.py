"""Wrong steps, to be planted in a run. Each takes pytest's monkeypatch and leaves the audits as they are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline import model
from pipeline.engine import execution, model_inputs
from pipeline.engine.products import effectiveness
from pipeline.engine.run import Run
from pipeline.store import staged_store
from pipeline.store.layout import METADATA
from pipeline.store.staged_store import StagedStore
from security_master import SecurityMaster

Plant = Callable[[pytest.MonkeyPatch], None]
Change = Callable[[np.ndarray], np.ndarray]


def tampered(dataset_id: str, var: str, change: Change, level: int | None = None) -> Plant:
    """The step that writes a variable writes `change(values)`, at one level if one is named."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        write = StagedStore.write

        def wrong(store: StagedStore, name: str, rows: slice, cols: slice, values: Any, *rest: Any) -> None:
            if store.spec.dataset_id == dataset_id and name == var:
                values = np.array(values)
                at = (...,) if level is None else (..., level)
                values[at] = change(values[at])
            write(store, name, rows, cols, values, *rest)

        def wrong_alike(store: StagedStore, names: Sequence[str], *block: Any) -> None:
            for name in names:
                wrong(store, name, *block)

        monkeypatch.setattr(StagedStore, "write", wrong)
        monkeypatch.setattr(StagedStore, "write_alike", wrong_alike)

    return plant


def in_one_cell(change: Change) -> Change:
    """`change` in the cell with the largest absolute value alone."""

    def once(values: np.ndarray) -> np.ndarray:
        at = np.unravel_index(np.nanargmax(np.abs(values)), values.shape)
        values[at] = change(values[at])
        return values

    return once


def in_session(row: int, change: Change) -> Change:
    """`change` in one session alone."""

    def once(values: np.ndarray) -> np.ndarray:
        values[row] = change(values[row])
        return values

    return once


def every_third_missing(values: np.ndarray) -> np.ndarray:
    values[:, ::3] = np.nan
    return values


def shortened(dataset_id: str, dim: str) -> Plant:
    """After its step, the staged store has one value less on an axis, in all its arrays."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        def cut(run: Run, name: str) -> None:
            overlay = run.stage.overlay(name)
            documents = json.loads(overlay.get(METADATA) or b"{}")
            for key, document in documents["metadata"].items():
                if key.endswith("/.zarray"):
                    dims = documents["metadata"][key.replace(".zarray", ".zattrs")]["_ARRAY_DIMENSIONS"]
                    document["shape"] = [n - (d == dim) for n, d in zip(document["shape"], dims, strict=True)]
                    overlay.put(key, json.dumps(document).encode())
            overlay.put(METADATA, json.dumps(documents).encode())

        monkeypatch.setattr(execution, "audit_store", before(execution.audit_store, dataset_id, cut))

    return plant


def before(audit_store: Callable, dataset_id: str, fault: Callable[[Run, str], None]) -> Callable:
    """`audit_store` that meets a fault in one staged store."""

    def audited(run: Run, name: str) -> Any:
        if name.startswith(dataset_id):
            fault(run, name)
        return audit_store(run, name)

    return audited


def no_cross_term(monkeypatch: pytest.MonkeyPatch) -> None:
    """The market hedge of L3 as a published text of this model has it: without beta_u lambda_us lambda_sm."""
    right = model.hedge_ratios_of_stocks

    def wrong(beta: np.ndarray, *assigned: Any) -> np.ndarray:
        ratios = right(beta, *assigned)
        _, um, _ = model.links_of_stocks(*assigned[:4])
        ratios[3] = ratios[1] + beta[2] * um
        return ratios

    monkeypatch.setattr(model, "hedge_ratios_of_stocks", wrong)


def realised(change: Callable[..., np.ndarray]) -> Plant:
    """The realised hedged return is `change(right, r, legs, ratios)`."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        right = model.hedged_return
        monkeypatch.setattr(model, "hedged_return", lambda *given: change(right, *given))

    return plant


def long_the_hedge(right: Callable, r: np.ndarray, legs: Any, ratios: Any) -> np.ndarray:
    """The ETFs are bought where they should be sold."""
    return right(r, legs, [-ratio for ratio in ratios])


def yesterdays_etf(right: Callable, r: np.ndarray, legs: Any, ratios: Any) -> np.ndarray:
    """The ETFs' returns are those of the session before."""
    return right(r, [np.roll(leg, 1, axis=0) for leg in legs], ratios)


def hedged_without_the_cross_term(right: Callable, r: np.ndarray, legs: Any, ratios: Any) -> np.ndarray:
    """At L3 the market is hedged without beta_u lambda_us lambda_sm, with links of one half and one."""
    lost = ratios[2] * 0.5 * 1.0 if len(ratios) == 3 else 0.0
    return right(r, legs, [ratios[0] - lost, *ratios[1:]])


def ratios_of_another_session(later: int) -> Plant:
    """Hedged with the ratios that are published `later` sessions after those of the session before."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        right = model_inputs.at_positions

        def wrong(run: Run, store: StagedStore, var: str, first: int, last: int, *rest: Any) -> np.ndarray:
            shift = later if var.endswith("_HR") else 0
            return right(run, store, var, first + shift, last + shift, *rest)

        monkeypatch.setattr(effectiveness, "at_positions", wrong)

    return plant


def ranked(change: Callable[..., Any]) -> Plant:
    """The ranks are `change(right, values, cohorts)`."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        right = model.ranks
        monkeypatch.setattr(model, "ranks", lambda *given: change(right, *given))

    return plant


def ties_in_order(right: Callable, values: np.ndarray, cohorts: np.ndarray) -> Any:
    """Values that are equal get one rank after the other: here the two largest of every session are."""
    best = np.nan_to_num(values, nan=-np.inf).argsort(axis=1)[:, -2:]
    rank, size = right(values, cohorts)
    np.put_along_axis(rank[0], best, rank[0][np.arange(len(best))[:, None], best[:, ::-1]], axis=1)
    return rank, size


def everybody_ranked(right: Callable, values: np.ndarray, cohorts: np.ndarray) -> Any:
    """Who has no value is ranked last."""
    return right(np.nan_to_num(values, nan=-9.0), np.maximum(cohorts, 1))


def one_sector(right: Callable, values: np.ndarray, cohorts: np.ndarray) -> Any:
    """All sectors are one, and all subsectors."""
    return right(values, np.minimum(cohorts, 1))


def longer_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Returns are compounded from one session earlier on."""
    right = model.compounded

    def wrong(r: np.ndarray, window: int, least: int, first: int) -> np.ndarray:
        earlier = np.concatenate([np.full((1, r.shape[1]), np.nan), r[: 1 - window]])
        grown = right(r, window, least, first)
        return (1 + grown) * (1 + np.nan_to_num(earlier[: len(grown)])) - 1

    monkeypatch.setattr(model, "compounded", wrong)


def equal_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cascade forgets the half-life."""
    right = model.cascade

    def wrong(*args: Any) -> Any:
        *cells, kernel, out = args
        return right(*cells, replace(kernel, half_life=None), out)

    monkeypatch.setattr(model, "cascade", wrong)


def yesterdays_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stocks' window ends a session before that of the ETFs."""
    right = model_inputs.stock_window

    def wrong(run: Run, symbols: np.ndarray, first: int, last: int) -> np.ndarray:
        return right(run, symbols, first - 1, last - 1)

    monkeypatch.setattr(model_inputs, "stock_window", wrong)


def returns_of_the_wrong_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Returns are taken from ds_daily by the positions that the symbols have on the axis of the betas."""
    right = model_inputs.stock_window

    def wrong(run: Run, symbols: np.ndarray, first: int, last: int) -> np.ndarray:
        return right(run, run.open("ds_daily").symbol[: len(symbols)], first, last)

    monkeypatch.setattr(model_inputs, "stock_window", wrong)


def industries_of_the_wrong_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes are taken from ds_daily by the positions that the symbols have on the axis of the betas."""
    right = model_inputs.assignment

    def wrong(run: Run, symbols: np.ndarray, first: int, last: int) -> Any:
        return right(run, run.open("ds_daily").symbol[: len(symbols)], first, last)

    monkeypatch.setattr(model_inputs, "assignment", wrong)


def everybody_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Betas are estimated for every stock that was ever listed."""
    right = model_inputs.wanted_cells

    def wrong(*args: Any) -> np.ndarray:
        return np.ones_like(right(*args))

    monkeypatch.setattr(model_inputs, "wanted_cells", wrong)


def everybody_wanted_without_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `everybody_wanted`, but `fact` is that of the members alone."""
    members = model_inputs.wanted_cells

    def mask(values: np.ndarray) -> np.ndarray:
        return values * member[-1].T[..., None]

    member: list[np.ndarray] = []
    monkeypatch.setattr(
        model_inputs, "wanted_cells", lambda *args: member.append(members(*args)) or np.ones_like(member[-1])
    )
    tampered("ds_erm3_betas", "fact", mask)(monkeypatch)


def one_cell_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stocks shrink towards the mean of all industries with the same ETF."""
    right = model.shrink

    def wrong(beta: Any, se: Any, fact: Any, industry: Any, *rest: Any) -> Any:
        return right(beta, se, fact, np.minimum(industry, 1).astype(industry.dtype), *rest)

    monkeypatch.setattr(model, "shrink", wrong)


def swapped_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sector's share of L3 stands in the place of the subsector's."""
    right = model.explained_risk

    def wrong(*args: Any) -> Any:
        shares, variance = right(*args)
        shares[[6, 7]] = shares[[7, 6]]
        return shares, variance

    monkeypatch.setattr(model, "explained_risk", wrong)


def dates_in_nanoseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are stored as nanoseconds where days are declared."""
    right = StagedStore._checked

    def wrong(store: StagedStore, name: str, values: Any) -> np.ndarray:
        if name == "teo":
            return np.asarray(values, "datetime64[ns]").ravel().astype("int64")
        return right(store, name, values)

    monkeypatch.setattr(StagedStore, "_checked", wrong)


def infinite_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    """A division by zero, and a store that takes it."""
    tampered("ds_daily", "volume", in_one_cell(lambda v: v * np.inf))(monkeypatch)
    monkeypatch.setattr(staged_store, "floats", lambda values, where: np.asarray(values, np.float32))


def larger_universe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest universe holds everybody, in the security master too."""
    right = SecurityMaster.snapshots

    def wrong(master: SecurityMaster, name: str, *args: Any, **kwargs: Any) -> Any:
        found = right(master, name, *args, **kwargs)
        if name != "uni_mc_50":
            return found
        everybody = master.roster()["sec_id"].to_numpy(object)
        return [snapshot._replace(members=everybody) for snapshot in found]

    monkeypatch.setattr(SecurityMaster, "snapshots", wrong)


def decomposed(level: int, *parts: str) -> Plant:
    """The named parts (factor, combined, residual) of one level are 0.002 too large; other levels add up as before."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        right = model.decompose

        def wrong(*args: Any) -> Any:
            factor, combined, residual = (part.copy() for part in right(*args))
            if "factor" in parts:
                factor[level - 1] += 0.002
                factor[level:][:1] -= 0.002
            if "combined" in parts:
                combined[level - 1] += 0.002
            if "residual" in parts:
                residual[level - 1] += 0.002
            return factor, combined, residual

        monkeypatch.setattr(model, "decompose", wrong)

    return plant


def etf_return_changed(after: str | None = None) -> Plant:
    """One session's return of an ETF changes in the staged store, after the audit of the store `after`, and before the
    next step has begun; None for after the last one."""

    def change(run: Run) -> None:
        store = run.open("ds_etf")
        rows = run.rows(store, run.last, run.last)
        values = store.read("return", rows)
        values[0, 0] += 0.01
        store.write("return", rows, slice(0, len(store.symbol)), values)

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        step, publish, computed = execution.step, execution.publish, [""]

        def wrong_step(run: Run, name: str) -> None:
            if after and computed[-1].startswith(after):
                while run.stage.audit(computed[-1]) is None:  # it is audited beside the steps
                    time.sleep(0.01)
                change(run)
            computed.append(name)
            step(run, name)

        def wrong_publish(run: Run) -> Any:
            if after is None:
                change(run)
            return publish(run)

        monkeypatch.setattr(execution, "step", wrong_step)
        monkeypatch.setattr(execution, "publish", wrong_publish)

    return plant


def another_value(values: np.ndarray) -> np.ndarray:
    return ~values if values.dtype == bool else np.nan_to_num(values) + values.dtype.type(1)


def reordered(dataset_id: str) -> Plant:
    """After its step, the first two symbols of the staged store have changed places."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        def swap(run: Run, name: str) -> None:
            store = run.open(name)
            axis = store.symbol
            axis[[0, 1]] = axis[[1, 0]]
            store.close()

        monkeypatch.setattr(execution, "audit_store", before(execution.audit_store, dataset_id, swap))

    return plant
