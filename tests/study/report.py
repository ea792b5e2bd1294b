"""docs/model-quality.md and its pictures, from what the study found."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.study.measures import Against
from tests.study.panel import Panel
from tests.study.variants import Variant

PAGE = Path("docs/model-quality.md")
LEVELS = ("L1", "L2", "L3")
COSTS = (1, 5, 10)
"""Basis points of each dollar of ETF traded."""


@dataclass(frozen=True)
class Found:
    """What the study found of one variant: against the default by level, and its turnover."""

    variant: Variant
    levels: tuple[Against, ...]
    turnover: list[float]

    @property
    def wins(self) -> bool:
        """Better at L3 beyond the interval, on what it is judged on and on what is held out."""
        deep = self.levels[2]
        return deep.high < 0 and all(change < 0 and mean < 0 for change, mean in deep.halves.values())


@dataclass(frozen=True)
class Calibration:
    """promised, came: by window, medians of tenths of the cells at L3. gap: by window and level, came less promised.

    errors: by level, change of a beta over a window in its standard errors. names: of `measures.names`.
    """

    promised: dict[int, list[float]]
    came: dict[int, list[float]]
    gap: dict[int, list[float]]
    errors: list[float]
    names: dict[int, tuple[int, list[int], dict[str, int]]]


def tenths(promised: NDArray, came: NDArray) -> tuple[list[float], list[float]]:
    """Medians of both in tenths of the cells by what was promised."""
    have = np.isfinite(promised) & np.isfinite(came)
    p, c = promised[have], came[have]
    if not len(p):
        return [], []
    tenth = np.searchsorted(np.quantile(p, np.arange(0.1, 1.0, 0.1)), p, "right")
    used = [k for k in range(10) if (tenth == k).any()]
    return [float(np.median(p[tenth == k])) for k in used], [float(np.median(c[tenth == k])) for k in used]


def page(panel: Panel, found: list[Found], calibration: Calibration, depths: dict[str, float]) -> str:
    """The document."""
    default = found[0]
    winners = [one for one in found[1:] if one.wins]
    shares = [_percent(level.share, 1) for level in default.levels]
    made = _wrapped(
        f"Made by `make study` (minutes, fixed seeds) on {panel.source}: {len(panel.r)} stocks, "
        f"{len(panel.sessions):,} sessions, {panel.sessions[0]} to {panel.sessions[-1]}. The hedge ratios of a session "
        "are held against the raw returns of the next one. Every variant changes one choice of the default (`huber`, "
        "window 252, half-life 126, L2 and L3 shrunk to industry peers, `min_peers` 5, refit daily) and is compared "
        "with it on the cells that both have. Market caps that are not known are carried from where they are: they "
        "weigh peers only."
    )
    leaves = _wrapped(
        f"The default leaves, as a median over stocks, **{shares[0]} of a stock's variance at L1, {shares[1]} at L2 "
        f"and {shares[2]} at L3** (of the names that have the level). What follows for the defaults is in "
        "[decision 11](decisions/0011-defaults-after-the-study.md)."
    )
    errors = _wrapped(
        "Standard errors: a beta changes from one window to the next, which has no session in common with it, by "
        + ", ".join(f"{error:.2f} ({level})" for level, error in zip(LEVELS, calibration.errors, strict=True))
        + " of its standard error, where 1 would say that betas stand still."
    )
    return f"""# Do the hedges work? A study out of sample

{made}

{leaves}

## Variance that is left, against the default

`L1` to `L3`: median over stocks of the ratio of variances, less one; negative is better. `mean`:
the same for squared hedged returns over the stock's variance, all cells together, with a 95 %
interval from a block bootstrap over sessions (blocks of 63). `names`, `years`: how many are better
at L3. `turnover`: dollars of ETFs traded a year per dollar of stock at L3, and what that costs at
1, 5 and 10 basis points, in per cent a year.

{_table(found)}

![Residual variance at L3 against the default](model-quality-variants.svg)

## The longer window, year by year

{_longer(found)}

![Window 504 with half-life 90 against the default](model-quality-years.svg)

## Candidates, and what is held out

A variant wins when it is better at L3 beyond the interval, and on both halves: even years of every
second stock, and odd years of the other stocks. The candidates are what the field knows and the
cascade allows without giving up identity, additivity or tradeability.

{_halves(found)}

{_winners(winners)}

## How deep to hedge

Median share of variance that is left by rules that choose the level of a stock for the next
session, on cells that have all three levels:

{_depths(depths)}

## Calibration

Residual shares promised by the default a window earlier, against what came in it (medians; a
promise is a share within its own window, and optimistic):

{_gaps(calibration)}

![What came against what was promised, at L3](model-quality-calibration.svg)

{errors}

## Who has which level

Stocks with a return at the last session of each year, those with a beta, and why the others lack
L3 (`no etf`: their chain has ended, or not begun; `same etf`: the subsector's is the sector's):

{_names(calibration)}
"""


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _percent(value: float, digits: int = 2, sign: bool = False) -> str:
    return f"{100 * value:{'+' if sign else ''}.{digits}f} %"


def _table(found: list[Found]) -> str:
    lines = [
        "| variant | L1 | L2 | L3 | mean at L3 (interval) | names | years | turnover | cost at 1, 5, 10 bp |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    group = ""
    for one in found:
        if one.variant.group not in (group, one.variant.name):
            group = one.variant.group
            lines.append(f"| *{group}* | | | | | | | | |")
        deep = one.levels[2]
        cost = ", ".join(f"{one.turnover[2] * bp / 100:.2f}" for bp in COSTS)
        if one is found[0]:
            lines.append(f"| default | | | | | | | {one.turnover[2]:.1f} | {cost} |")
            continue
        changes = " | ".join(_percent(level.change, 2, True) for level in one.levels)
        mean = f"{_percent(deep.mean, 2, True)} ({100 * deep.low:+.2f} to {100 * deep.high:+.2f})"
        lines.append(
            f"| {one.variant.name} | {changes} | {mean} | {100 * deep.names:.0f} % | {deep.years} of {deep.of_years} "
            f"| {one.turnover[2]:.1f} | {cost} |"
        )
    return "\n".join(lines)


def _named(found: list[Found], name: str) -> Found:
    return next(one for one in found if one.variant.name == name)


LONGER = "window 504, half-life 90"


def _longer(found: list[Found]) -> str:
    lines = ["| | L1 | L2 | L3 |", "|---|---|---|---|"]
    levels = _named(found, LONGER).levels
    lines.append("| median change | " + " | ".join(_percent(one.change, 2, True) for one in levels) + " |")
    lines.append("| years better | " + " | ".join(f"{one.years} of {one.of_years}" for one in levels) + " |")
    for year in levels[0].by_year:
        cells = [_percent(one.by_year[year], 2, True) if year in one.by_year else "" for one in levels]
        lines.append(f"| {year} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _halves(found: list[Found]) -> str:
    lines = ["| variant | chosen on: median, mean | held out: median, mean | wins |", "|---|---|---|---|"]
    for one in found[1:]:
        halves = one.levels[2].halves.values()
        cells = [f"{_percent(change, 2, True)}, {_percent(mean, 2, True)}" for change, mean in halves]
        lines.append(f"| {one.variant.name} | {' | '.join(cells)} | {'yes' if one.wins else 'no'} |")
    return "\n".join(lines)


def _winners(winners: list[Found]) -> str:
    if not winners:
        return "**None wins.**"
    best = min(winners, key=lambda one: one.levels[2].mean)
    names = "\n".join(f"* {one.variant.name}" for one in winners)
    return f"These win; the largest gain is {_percent(best.levels[2].mean, 2, True)}:\n\n{names}"


def _depths(depths: dict[str, float]) -> str:
    return "\n".join(
        ["| rule | left |", "|---|---|", *(f"| {name} | {_percent(left)} |" for name, left in depths.items())]
    )


def _gaps(calibration: Calibration) -> str:
    lines = ["| window | L1 | L2 | L3 |", "|---|---|---|---|"]
    for window, gaps in calibration.gap.items():
        lines.append(f"| {window} sessions, came less promised | " + " | ".join(f"{gap:+.3f}" for gap in gaps) + " |")
    return "\n".join(lines)


def _names(calibration: Calibration) -> str:
    lines = ["| year | stocks | L1 | L2 | L3 | without L3 |", "|---|---|---|---|---|---|"]
    for year, (stocks, have, why) in calibration.names.items():
        cells = " | ".join(map(str, (stocks, *have)))
        lines.append(f"| {year} | {cells} | {', '.join(f'{reason} {n}' for reason, n in why.items())} |")
    return "\n".join(lines)


def draw(found: list[Found], calibration: Calibration, folder: Path) -> None:
    """The pictures, as SVG without a date."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "erm3"
    from matplotlib import pyplot

    def save(figure, name: str) -> None:
        figure.tight_layout()
        figure.savefig(folder / f"model-quality-{name}.svg", metadata={"Date": None})
        pyplot.close(figure)

    figure, axis = pyplot.subplots(figsize=(8, 0.26 * len(found) + 1))
    for k, one in enumerate(found[1:]):
        deep, color = one.levels[2], "tab:green" if one.wins else "tab:gray"
        axis.plot([100 * deep.low, 100 * deep.high], [k, k], color=color, lw=2)
        axis.plot(100 * deep.mean, k, "o", color=color, ms=4)
    axis.set_yticks(range(len(found) - 1), [one.variant.name for one in found[1:]], fontsize=8)
    axis.invert_yaxis()
    axis.axvline(0, color="black", lw=0.8)
    axis.set_xscale("symlog", linthresh=1.0)
    axis.set_xlabel("squared hedged return at L3 against the default, %, with 95 % intervals (log beyond 1 %)")
    axis.grid(alpha=0.3)
    save(figure, "variants")

    figure, axis = pyplot.subplots(figsize=(8, 3))
    levels = _named(found, LONGER).levels
    for k, (level, one) in enumerate(zip(LEVELS, levels, strict=True)):
        years = np.array(list(one.by_year))
        axis.bar(years + (k - 1) * 0.27, [100 * v for v in one.by_year.values()], 0.27, label=level)
    axis.axhline(0, color="black", lw=0.8)
    axis.set_ylabel("median change of\nvariance left, %")
    axis.legend(frameon=False, ncols=3)
    axis.grid(alpha=0.3)
    save(figure, "years")

    figure, axis = pyplot.subplots(figsize=(4.5, 4))
    for window, promised in calibration.promised.items():
        axis.plot(promised, calibration.came[window], "o-", ms=4, label=f"{window} sessions")
    axis.plot([0, 1], [0, 1], color="black", lw=0.8)
    axis.set_xlabel("residual share promised at L3")
    axis.set_ylabel("share of variance that came")
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    save(figure, "calibration")
