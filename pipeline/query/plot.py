"""Pictures of answers: each function gives a matplotlib Figure, which a notebook shows and `erm3 plot` saves.

Nothing here uses pyplot: a figure belongs to who asked for it, in any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.outside.visible import visible
from pipeline.query import history as past
from pipeline.query.errors import NotComputable
from pipeline.query.family import QueryFamily
from pipeline.query.fields import LEVELS
from pipeline.query.portfolio import residuals
from pipeline.query.values import YEAR

COLOURS = {"market": "#3b6ea5", "sector": "#d08a2e", "subsector": "#4f9d69", "residual": "#9aa0a6", "total": "#333333"}
WIDTH, ROW = 10.0, 2.3
USUAL = (1, 2)
"""Flags of a return that need no mark: close to close, without and with events."""


def betas(family: QueryFamily, who: str, years: int = 5, as_of: Any = None) -> Figure:
    """Betas after shrinkage at the three levels, a background for each ETF that was used, its name where it begins."""
    names = [f"l{k}_{level}_beta" for k, level in enumerate(LEVELS, 1)]
    table, etfs = past.fields_of(family, who, years, as_of, names), past.etf_history(family, who, years, as_of)
    figure, axes = _rows(len(LEVELS), f"Betas of {_who(table.attrs)} by level, and the ETFs used")
    dates = _dates(table["date"])
    for axis, level, name in zip(axes, LEVELS, names, strict=True):
        axis.plot(dates, table[name], color=COLOURS[level], linewidth=1.2)
        axis.set_ylabel(f"{level}\nbeta [1]")
        _mark_changes(axis, dates, etfs[f"{level}_etf"])
    return figure


def hedge_ratios(family: QueryFamily, who: str, years: int = 5, as_of: Any = None) -> Figure:
    """Hedge ratios of the hedges at L1, L2, L3: dollars of each ETF per dollar long the stock, negative is short."""
    legs = {k: LEVELS[:k] for k in (1, 2, 3)}
    names = [f"l{k}_{leg}_hr" for k in legs for leg in legs[k]]
    table = past.fields_of(family, who, years, as_of, names)
    figure, axes = _rows(3, f"Hedge ratios of {_who(table.attrs)}: dollars of ETF per dollar long, negative is short")
    for axis, k in zip(axes, legs, strict=True):
        for leg in legs[k]:
            axis.plot(_dates(table["date"]), table[f"l{k}_{leg}_hr"], color=COLOURS[leg], label=leg, linewidth=1.2)
        axis.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
        axis.set_ylabel(rf"L{k} [\$/\$]")
    _legend(axes[-1], figure)
    return figure


def explained_risk(family: QueryFamily, who: str, years: int = 5, as_of: Any = None) -> Figure:
    """Shares of the window's variance at L3, one on the other; a negative share lies below zero."""
    parts = (*LEVELS, "residual")
    table = past.fields_of(family, who, years, as_of, [f"l3_{part}_er" for part in parts])
    figure, (axis,) = _rows(1, f"Where the risk of {_who(table.attrs)} comes from", 4.2)
    dates = _dates(table["date"])
    above, below = np.zeros(len(table)), np.zeros(len(table))
    for part in parts:
        share = np.where(np.isnan(table[f"l3_{part}_er"]), 0.0, table[f"l3_{part}_er"].astype(float))
        up, down = np.maximum(share, 0), np.minimum(share, 0)
        axis.fill_between(dates, above, above + up, color=COLOURS[part], label=part, linewidth=0)
        axis.fill_between(dates, below, below + down, color=COLOURS[part], linewidth=0)
        above, below = above + up, below + down
    axis.set_ylabel("share of variance [1]")
    axis.set_ylim(min(0.0, float(below.min()) * 1.1), max(1.0, float(above.max())))
    _legend(axis, figure)
    return figure


def bridge(family: QueryFamily, who: str | Mapping[str, float], start: Any = None, end: Any = None) -> Figure:
    """A compounded return as bars that add up to it."""
    found = family.return_bridge(who, start, end)
    bars = found["bars"]
    title = f"Return of {_text(who) if isinstance(who, str) else 'the portfolio'}, {found['start']} to {found['end']}"
    figure, (axis,) = _rows(1, title, 4.2)
    height = 0.0
    for k, (name, value) in enumerate(bars.items()):
        bottom = 0.0 if name == "total" else height
        axis.bar(k, value * 100, bottom=bottom * 100, color=COLOURS[name], width=0.6)
        axis.annotate(f"{value:+.1%}", (k, (bottom + max(value, 0)) * 100), ha="center", va="bottom", fontsize=9)
        if name != "total":
            axis.plot([k - 0.3, k + 1.3], [(height + value) * 100] * 2, color="#888888", linewidth=0.7)
            height += value
    axis.set_xticks(range(len(bars)), list(bars))
    axis.set_ylabel("compounded return [%]")
    axis.axhline(0, color="#333333", linewidth=0.8)
    axis.margins(y=0.15)
    return figure


def residual(family: QueryFamily, who: str, years: int = 2, as_of: Any = None) -> Figure:
    """Residual returns at L3 with a mark where the return was not made from close to close, and their sum."""
    table = past.fields_of(family, who, years, as_of, ["l3_residual_return"])
    dates, values = _dates(table["date"]), table["l3_residual_return"]
    cells = family.cells("ds_daily")
    at = np.searchsorted(family.sessions, dates)
    position = cells.position[table.attrs["symbol"]]
    flags = cells.column("return_flag", position, int(at[0]), int(at[-1]) + 1)[at - at[0]]
    figure, axes = _rows(2, f"Residual return of {_who(table.attrs)} at L3, and what its returns were made from")
    axes[0].vlines(dates, 0, values * 100, color=COLOURS["residual"], linewidth=0.8)
    for k, (code, name) in enumerate(sorted(cells.flags("return_flag").items())):
        marked = flags == code
        if marked.any() and code not in USUAL:
            heights = np.where(np.isnan(values[marked]), 0.0, values[marked] * 100)
            axes[0].scatter(dates[marked], heights, s=26, color=f"C{k % 10}", label=name, zorder=3)
    axes[0].set_ylabel("residual [%]")
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(loc="upper left", fontsize=8, frameon=False, ncols=3)
    axes[1].plot(dates, np.nancumsum(values.astype(float)) * 100, color=COLOURS["total"], linewidth=1.2)
    axes[1].set_ylabel("sum so far [%]")
    return figure


def industries(
    family: QueryFamily, level: str = "subsector", start: Any = None, end: Any = None, most: int = 8
) -> Figure:
    """Mean of the betas of the largest industries through time, with a band of one standard deviation."""
    found = family.industry_history(level, start, end)
    size = found.n_companies.values
    chosen = [int(k) for k in np.argsort(-size[-1], kind="stable")[:most] if size[-1][k] > 0]
    if not chosen:
        raise NotComputable(f"no industry has a company with a beta at {level} on {str(found.date.values[-1])[:10]}")
    rows = -(-len(chosen) // 2)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.0 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, k in zip(axes, chosen, strict=False):
        mean, spread = found.beta_mean.values[:, k], np.sqrt(found.beta_variance.values[:, k])
        axis.fill_between(
            found.date.values, mean - spread, mean + spread, color=COLOURS[level], alpha=0.25, linewidth=0
        )
        axis.plot(found.date.values, mean, color=COLOURS[level], linewidth=1.2)
        axis.set_title(f"{_text(str(found.name.values[k]))} ({int(size[-1][k])})", fontsize=9, loc="left")
        axis.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
        _plain(axis)
    for axis in axes[len(chosen) :]:
        axis.set_visible(False)
    figure.suptitle(f"Betas at the {level} level: mean and one standard deviation; companies in brackets", fontsize=11)
    return figure


def portfolio(family: QueryFamily, weights: Mapping[str, float], on: Any = None) -> Figure:
    """A portfolio over the year up to D, as it is and hedged at L1, L2, L3 each session; volatility in brackets."""
    dates, series = residuals(family, weights, on)
    figure, (axis,) = _rows(1, f"Portfolio of {len(weights)} names before and after its hedge", 4.4)
    labels = {
        "gross": ("as it is", "total"),
        **{f"residual_{k}": (f"hedged at L{k}", x) for k, x in enumerate(LEVELS, 1)},
    }
    size = sum(abs(weight) for weight in weights.values())
    for name, (label, colour) in labels.items():
        returns = series[name] / size
        volatility = np.nanstd(returns) * np.sqrt(YEAR)
        path = np.nancumsum(returns) * 100
        axis.plot(dates, path, color=COLOURS[colour], label=f"{label} ({volatility:.1%} a year)", linewidth=1.4)
    axis.set_ylabel("sum of returns [% of gross]")
    axis.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
    _legend(axis, figure)
    return figure


OF_A_STOCK = {"betas": betas, "hedge": hedge_ratios, "risk": explained_risk, "residual": residual}
KINDS = (*OF_A_STOCK, "bridge", "industries", "portfolio")


def _text(text: str) -> str:
    """A name as a picture shows it: as it is, and never as a formula."""
    return visible(text).replace("$", r"\$")


def _who(said: Mapping[str, Any]) -> str:
    return _text(f"{said['ticker']} ({said['symbol']})")


def _dates(texts: NDArray) -> NDArray[np.datetime64]:
    return texts.astype(str).astype("datetime64[D]")


def _rows(count: int, title: str, height: float = ROW) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH, 0.6 + height * count), layout="constrained")
    axes = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    figure.suptitle(title, fontsize=12)
    for axis in axes:
        _plain(axis)
    return figure, axes


def _plain(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _legend(axis: Axes, figure: Figure) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)


def _mark_changes(axis: Axes, dates: NDArray, etfs: NDArray) -> None:
    """A background for every second stretch of one ETF, and its name where it begins."""
    names = np.array([etf or "" for etf in etfs])
    starts = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
    ends = np.append(starts[1:], len(names))
    shown = 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if names[start]:
            axis.axvspan(dates[start], dates[end - 1], color="#000000", alpha=0.06 if shown % 2 else 0.0, linewidth=0)
            place = {"xycoords": ("data", "axes fraction"), "va": "top", "fontsize": 8, "color": "#555555"}
            axis.annotate(_text(names[start]), (dates[start], 0.98), **place)  # type: ignore[arg-type]
            shown += 1
