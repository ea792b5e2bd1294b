"""Small pictures for the page of a materialisation: a PNG inside a line of Markdown, a few tens of kilobytes each."""

from __future__ import annotations

import base64
import io

import dagster as dg
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.dates import AutoDateLocator
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from assets.figures import by_session
from pipeline.datasets import LEVELS
from pipeline.engine.product import BeforeAfter, Heat, Histograms, Lines, Picture
from pipeline.engine.products import product_of
from pipeline.engine.run import Run
from pipeline.reports.quality_report import SHADES

BETA_RANGE = (-1.0, 3.0)
SHADE_LABELS = ("none", "1", "2-3", "4-7", "8-15", "16 or more")
"""Quarantined cells of a session, by shade."""
COLOURS = ("#1f4e79", "#d97706", "#2e7d32", "#9ca3af")


def plots(run: Run, name: str) -> dict[str, dg.MarkdownMetadataValue]:
    """Pictures of a store by title, at the last session of the run and over the published year before it."""
    pictures = product_of(run.specs[name]).pictures(run, name)
    return {picture.title: markdown(picture.title, drawn(picture, run, name)) for picture in pictures}


def drawn(picture: Picture, run: Run, name: str) -> Figure:
    """What a product wants to be seen, drawn."""
    match picture:
        case Lines():
            return _lines(run, name, picture)
        case Histograms():
            return _histograms(picture)
        case BeforeAfter():
            return _before_after(picture)
        case Heat():
            return _heat(picture, run.days(picture.first, run.last))


def markdown(title: str, figure: Figure) -> dg.MarkdownMetadataValue:
    """A figure inside a line of Markdown."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})")


def _lines(run: Run, name: str, picture: Lines) -> Figure:
    first, last = run.last_year(name)
    series, days = by_session(run, name, first, last), run.days(first, last)
    keys = picture.figures
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    for k, (key, legend) in enumerate(keys.items()):
        values = series[key] * (100 if picture.percent else 1)
        # The first lines are the widest, so that later ones on top of them leave them visible.
        width, marker = 1.2 + 1.2 * (len(keys) - 1 - k), "o" if len(days) < 3 else None
        axes.plot(days, values, color=COLOURS[k], linewidth=width, marker=marker, label=legend)
    axes.set_ylabel(picture.label)
    axes.margins(y=0.15)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=8, ncols=len(keys), frameon=False)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=1, maxticks=8))
    return figure


def _histograms(picture: Histograms) -> Figure:
    """Values outside the range are counted in the titles."""
    beta = picture.values
    figure = Figure(figsize=(7, 2.2), layout="constrained")
    for k, axes in enumerate(figure.subplots(1, len(LEVELS), sharey=True)):
        values = beta[np.isfinite(beta[:, k]), k]
        outside = int(((values < BETA_RANGE[0]) | (values > BETA_RANGE[1])).sum())
        axes.hist(values, bins=40, range=BETA_RANGE, color=COLOURS[k])
        median = f"median {np.median(values):.2f}" if len(values) else "none"
        axes.set_title(f"{LEVELS[k]}: {median}" + (f", {outside} outside" if outside else ""), fontsize=9)
        axes.tick_params(labelsize=8)
    figure.supxlabel(picture.label, fontsize=8)
    return figure


def _before_after(picture: BeforeAfter) -> Figure:
    raw, adjusted, weight = picture.before, picture.after, picture.weight
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    for k, axes in zip((1, 2), figure.subplots(1, 2, sharex=True, sharey=True), strict=True):
        dots = axes.scatter(raw[:, k], adjusted[:, k], c=weight[:, k], s=9, cmap="viridis", vmin=0, vmax=1)
        axes.plot(BETA_RANGE, BETA_RANGE, color="#9ca3af", linewidth=0.8)
        axes.set_xlim(*BETA_RANGE)
        axes.set_ylim(*BETA_RANGE)
        axes.set_title(LEVELS[k], fontsize=9)
        axes.set_xlabel("raw beta", fontsize=8)
        axes.tick_params(labelsize=8)
        if k == 1:
            axes.set_ylabel("shrunk beta", fontsize=8)
    figure.colorbar(dots, ax=figure.axes, label="weight of the peers' mean")
    return figure


def _heat(picture: Heat, days: NDArray[np.datetime64]) -> Figure:
    figure = Figure(figsize=(7, 1 + 0.22 * len(picture.names)), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(picture.values, aspect="auto", interpolation="nearest", cmap="magma_r", vmin=0)
    axes.set_yticks(range(len(picture.names)), picture.names)
    ticks = np.unique(np.linspace(0, len(days) - 1, min(5, len(days))).round().astype(int))
    axes.set_xticks(ticks, [str(day) for day in days[ticks]])
    axes.tick_params(labelsize=7)
    figure.colorbar(shown, ax=axes, label=picture.label)
    return figure


def coverage_by_year(years: pd.DataFrame) -> Figure:
    """`security_coverage.coverage_report`: counts of securities, and what the source seems to lack."""
    figure = Figure(figsize=(7, 3.0), layout="constrained")
    counts, shares = figure.subplots(1, 2)
    for k, column in enumerate(("known", "priced", "classified", "with_shares")):
        # Later lines lie on top of earlier ones, which are wider, so that equal ones can be seen.
        counts.plot(years["year"], years[column], color=COLOURS[k], lw=5 - 1.3 * k, marker=".", label=column)
    counts.plot(years["year"], years["expected"], color="black", lw=1, ls="--", label="expected")
    counts.set_ylim(0, 1.1 * years["expected"].max())
    counts.set_ylabel("securities", fontsize=8)
    width = 0.4
    shares.bar(years["year"] - width / 2, 100 * years["missing_share"], width, color=COLOURS[1], label="missing")
    bias = 100 * years["survivors_bias"]
    shares.bar(years["year"] + width / 2, bias, width, color=COLOURS[0], label="survivors' bias of returns")
    shares.axhline(0, color="black", lw=0.6)
    shares.set_ylabel("%", fontsize=8)
    for axes in (counts, shares):
        axes.set_xlim(years["year"].min() - 0.7, years["year"].max() + 0.7)
        axes.set_xticks(years["year"][:: 1 + len(years) // 7])
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=7, ncols=3, frameon=False)
    return figure


def left_by_month(months: pd.DataFrame) -> Figure:
    """`hedge_effectiveness.months`: the universe as thick lines, its sectors as thin ones, a panel for each level."""
    levels = list(dict.fromkeys(months["level"])) or ["market"]
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    panels = figure.subplots(1, len(levels), sharey=True, squeeze=False)[0]
    for k, (level, axes) in enumerate(zip(levels, panels, strict=True)):
        for cohort, rows in months[months["level"] == level].groupby("cohort", sort=True):
            universe = cohort == "universe"
            days = rows["month"].to_numpy("datetime64[M]").astype("datetime64[D]")
            colour = COLOURS[k] if universe else "0.8"
            axes.plot(days, 100 * rows["left"], color=colour, lw=2 if universe else 0.7, zorder=2 if universe else 1)
        axes.set_title(level, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(AutoDateLocator(minticks=1, maxticks=4))
    panels[0].set_ylabel("% of the variance left, median")
    return figure


def quarantine_calendar(days: pd.DataFrame) -> Figure:
    """`quality_report.calendar`: one row of weeks for each year, one square for each session."""
    years = days["year"].unique()
    shades = np.full((len(years), 6, 54), np.nan)  # the sixth line parts the years
    shades[days["year"] - years[0], days["weekday"], days["week"]] = days["shade"]
    figure = Figure(figsize=(7, 0.6 + 0.45 * len(years)), layout="constrained")
    axes = figure.subplots()
    colours = ListedColormap(SHADES)
    axes.imshow(
        shades.reshape(-1, 54), aspect="auto", interpolation="nearest", cmap=colours, vmin=0, vmax=len(SHADES) - 1
    )
    axes.set_yticks(6 * np.arange(len(years)) + 2, years)
    axes.set_xticks(
        np.arange(12) * 53 / 12 + 2, [f"{month:%b}" for month in pd.date_range("2001-01-01", periods=12, freq="MS")]
    )
    axes.tick_params(labelsize=8, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    keys = [Patch(color=shade, label=label) for shade, label in zip(SHADES, SHADE_LABELS, strict=True)]
    axes.legend(handles=keys, loc="lower left", bbox_to_anchor=(0, 1), fontsize=7, ncols=len(keys), frameon=False)
    return figure
