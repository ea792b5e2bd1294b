"""`python -m docs.pictures`: draws the pictures of the documents that show numbers, from the simulated market."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.audits import reference
from pipeline.settings import ModelParameters, SimulatedMarket
from pipeline.sources.simulated import SimulatedSource

HERE = Path(__file__).parent
MARKET = SimulatedMarket(stocks=40, first_session="2018-01-02", last_session="2020-06-30")
AFTER = 40
"""Sessions shown after the published one, greyed: nothing of them is known yet."""
LEVELS = ("market", "sector", "subsector")
COLOURS = ("#9ca3af", "#1f4e79", "#d97706", "#2e7d32")


def main() -> None:
    matplotlib.rcParams |= {"svg.hashsalt": "erm3", "svg.fonttype": "none", "font.size": 9}
    window().savefig(HERE / "window.svg", metadata={"Date": None, "Creator": None})


def window() -> Figure:
    """One stock's window: weights, the return and what each level leaves of it (cumulated), and the shares."""
    model = ModelParameters()
    stock, legs = series()
    end = len(stock) - AFTER
    at = slice(end - model.window, end)
    p = reference.CellParameters(
        model.estimator, model.min_obs, model.half_life, model.huber_epsilon, model.huber_scale_floor, model.ridge_alpha
    )
    m, s, u = (leg[at] for leg in legs)
    cell = reference.cell(stock[at], m, s, u, p)
    clean_s = s - cell.sector_on_market * m
    clean_u = u - cell.subsector_on_market * m - cell.subsector_on_sector * clean_s
    left = [stock[at]]
    for beta, factor in zip(cell.beta, (m, clean_s, clean_u), strict=True):
        left.append(left[-1] - beta * factor)
    age = np.arange(model.window - 1, -1, -1)
    weight = np.ones(model.window) if model.half_life is None else 0.5 ** (age / model.half_life)
    mean = [np.average(each, weights=weight) for each in left]
    variance = [np.average((each - mu) ** 2, weights=weight) for each, mu in zip(left, mean, strict=True)]

    figure = Figure(figsize=(8, 4.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(1, 4), sharex=True)
    top.fill_between(-age, weight, color=COLOURS[0], linewidth=0)
    top.set(ylabel="weight", ylim=(0, 1.05), yticks=(0, 0.5, 1))
    names = ["return", *(f"after {level} (beta {b:.2f})" for level, b in zip(LEVELS, cell.beta, strict=True))]
    for each, v, name, colour in zip(left, variance, names, COLOURS, strict=True):
        label = f"{name}: {v / variance[0]:.0%} of the variance"
        bottom.plot(-age, 100 * np.cumsum(each), color=colour, linewidth=1.3, label=label)
    bottom.set(xlabel="sessions after the published one", ylabel="cumulated, %", xlim=(1 - model.window, AFTER))
    bottom.legend(frameon=False, fontsize=8)
    for axes in (top, bottom):
        axes.axvline(0, color="black", linewidth=1)
        axes.axvspan(0.5, AFTER, color="#eef1f4", linewidth=0)
        axes.spines[["top", "right"]].set_visible(False)
    bottom.text(AFTER / 2, 0.5, "not known", ha="center", transform=bottom.get_xaxis_transform(), color="#6b7280")
    return figure


def series() -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Returns of the first stock that has a return on every session and a subsector ETF, and of its three ETFs."""
    truth = SimulatedSource(MARKET).truth
    market = truth.total_return("SPY")
    for one in truth.betas.itertuples(index=False):
        if one.subsector_etf:
            legs = [truth.total_return(etf).reindex(market.index) for etf in ("SPY", one.sector_etf, one.subsector_etf)]
            stock = truth.total_return(one.key).reindex(market.index)
            if all(each[1:].notna().all() for each in (stock, *legs)):
                return stock.to_numpy()[1:], [leg.to_numpy()[1:] for leg in legs]
    raise ValueError(f"no stock of {MARKET} has a return on every session and a subsector ETF; take more stocks")


if __name__ == "__main__":
    main()
