"""`make bench`: our kernels against the field's, in one process, by interleaved medians; docs/benchmarks.md and a plot.

    python -m tests.bench [--quick]

Absolute times are those of this machine and of what else ran on it; the ratios hold. Slow peers run on a sample, and
the table says so. `--quick` takes small panels, for a look that the program works.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import model
from pipeline.model import KernelParams
from tests.bench import document, floor, peers

Floats = NDArray[np.float64]
PLOT = Path("docs/benchmarks-scaling.svg")
EQUAL = KernelParams(estimator="ols", half_life=None)


@dataclass(frozen=True)
class Panel:
    """Returns of stocks that follow one market, sector and subsector ETF; complete unless `gaps`."""

    r: Floats
    etf: Floats
    sector: NDArray[np.int16]
    subsector: NDArray[np.int16]
    wanted: NDArray[np.bool_]

    @classmethod
    def of(cls, stocks: int, sessions: int, window: int, gaps: float = 0.0) -> Panel:
        random = np.random.default_rng(stocks + sessions)
        length = sessions + window - 1
        m, s, u = random.standard_t(5, (3, length)) * 0.008
        etf = np.stack([m, m + s, 1.1 * m + 0.8 * s + u])
        r = random.standard_t(4, (stocks, length)) * 0.012
        r += random.normal((1.0, 0.6, 0.6), 0.3, (stocks, 3)) @ np.stack([m, s, u])
        if gaps:
            r[random.random(r.shape) < gaps] = np.nan
        cells = (stocks, sessions)
        return cls(r, etf, np.full(cells, 1, np.int16), np.full(cells, 2, np.int16), np.ones(cells, bool))

    @property
    def cells(self) -> int:
        return self.wanted.size


@dataclass(frozen=True)
class Outputs:
    """The arrays of `ours`, brought by the caller as a worker of the pipeline brings those of its tiles."""

    cascade: model.Cascade
    shares: Floats
    variance: Floats
    ratios: Floats

    @classmethod
    def of(cls, panel: Panel) -> Outputs:
        cells = panel.wanted.shape
        shares, ratios = np.empty((len(model.SHARES), *cells)), np.empty((len(model.HEDGE_RATIOS), *cells))
        return cls(model.Cascade.empty(*cells), shares, np.empty(cells), ratios)


def ours(panel: Panel, params: KernelParams, out: Outputs | None = None) -> None:
    """All outputs: link betas, betas with errors, shares, hedge ratios; in fresh arrays without `out`."""
    out = out or Outputs.of(panel)
    pairs = np.array([[2, 1]], np.int16)
    links = model.link_betas(panel.etf, 0, pairs, 0, params)
    cells = (panel.r, panel.etf, 0, panel.sector, panel.subsector)
    done = model.cascade(*cells, panel.wanted, 0, params, out.cascade)
    assert done.unconverged == 0
    model.explained_risk(*cells, done.beta, panel.wanted, 0, params, (out.shares, out.variance))
    model.hedge_ratios_of_stocks(done.beta, links, pairs, panel.sector, panel.subsector, out.ratios)


def interleaved(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each job, in processor time; the jobs take turns, so that a busy machine slows all of them."""
    for job in work.values():
        job()
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, job in work.items():
            began = time.process_time()
            job()
            taken[name].append(time.process_time() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


@dataclass(frozen=True)
class Row:
    """One method: nanoseconds per stock-session, on how many of them it ran, and the least ratio asked of us."""

    name: str
    nanoseconds: float
    cells: int
    target: str


def ols_rows(stocks: int, sessions: int, window: int, rounds: int) -> list[Row]:
    panel, gappy = Panel.of(stocks, sessions, window), Panel.of(stocks, sessions, window, gaps=0.02)
    m, s, u = panel.etf
    by_time = np.ascontiguousarray(panel.r.T)
    out, reused = np.empty((stocks, 22, panel.r.shape[1])), Outputs.of(panel)
    big: dict[str, Callable[[], object]] = {
        "floor (arithmetic and memory)": lambda: floor.ols_floor(panel.r, m, s, u, out),
        "ERM3, complete panel": lambda: ours(panel, EQUAL, reused),
        "ERM3, complete panel, fresh arrays": lambda: ours(panel, EQUAL),
        "ERM3, 2 % gaps": lambda: ours(gappy, EQUAL, reused),
        "ERM3, half-life 126": lambda: ours(panel, replace(EQUAL, half_life=126.0), reused),
        "numpy cumulative sums x15 + solve": lambda: peers.cascade_by_sums(
            by_time, m, s, u, window, peers.cumulative_sums
        ),
        "bottleneck move_sum x15 + solve": lambda: peers.cascade_by_sums(
            by_time, m, s, u, window, peers.bottleneck_sums
        ),
        "numbagg move_sum x15 + solve": lambda: peers.cascade_by_sums(by_time, m, s, u, window, peers.numbagg_sums),
        "pandas rolling sum x15 + solve": lambda: peers.cascade_by_sums(by_time, m, s, u, window, peers.pandas_sums),
    }
    targets = {"numpy": ">= 10", "numbagg": ">= 8", "pandas": ">= 25"}
    rows = []
    for name, seconds in interleaved(big, rounds).items():
        rows.append(Row(name, seconds / panel.cells * 1e9, panel.cells, targets.get(name.split()[0], "")))
    few = 2
    small: dict[str, Callable[[], object]] = {
        "polars-ols rolling (betas only)": lambda: [
            peers.polars_ols_cascade(panel.r[k], m, s, u, window) for k in range(few)
        ],
        "statsmodels RollingOLS, params only": lambda: peers.statsmodels_cascade(panel.r[0], m, s, u, window, False),
        "statsmodels RollingOLS, full fit": lambda: peers.statsmodels_cascade(panel.r[0], m, s, u, window, True),
    }
    sizes = {"polars-ols": few * sessions}
    targets = {"polars-ols": ">= 60", "params": ">= 400", "full": ">= 2,000"}
    for name, seconds in interleaved(small, max(rounds // 2, 1)).items():
        cells = sizes.get(name.split()[0], sessions)
        target = next((t for key, t in targets.items() if key in name), "")
        rows.append(Row(name, seconds / cells * 1e9, cells, target))
    return rows


def huber_rows(stocks: int, sessions: int, window: int, rounds: int, samples: int) -> list[Row]:
    panel = Panel.of(stocks, sessions, window)
    params = KernelParams(estimator="huber", half_life=None)
    m, s, u = panel.etf
    out, reused = np.empty(panel.r.shape), Outputs.of(panel)
    weights = np.ones(window)
    windows = [(k % stocks, (k * 37) % sessions) for k in range(samples)]

    def each(fit: Callable[[Floats, Floats, Floats, Floats], object]) -> None:
        for stock, at in windows:
            window_of = slice(at, at + window)
            fit(panel.r[stock, window_of], m[window_of], s[window_of], u[window_of])

    fast = interleaved(
        {
            "floor (two passes a level over the window)": lambda: floor.huber_floor(
                panel.r, m, weights, window, 6, out
            ),
            "ERM3, huber": lambda: ours(panel, params, reused),
            "ERM3, huber, half-life 126": lambda: ours(panel, replace(params, half_life=126.0), reused),
        },
        rounds,
    )
    slow = interleaved(
        {
            "scikit-learn HuberRegressor, strict": lambda: each(peers.sklearn_huber),
            "statsmodels RLM": lambda: each(peers.statsmodels_rlm),
        },
        1,
    )
    rows = [Row(name, seconds / panel.cells * 1e9, panel.cells, "") for name, seconds in fast.items()]
    targets = {"scikit-learn": ">= 1,500", "statsmodels": ">= 2,000"}
    rows += [Row(name, seconds / samples * 1e9, samples, targets[name.split()[0]]) for name, seconds in slow.items()]
    return rows


def ratios(rows: list[Row], us: str) -> str:
    """The table of one estimator: each method's cost over ours."""
    base = next(row.nanoseconds for row in rows if row.name == us)
    lines = ["| method | ns per stock-session | over ERM3 | asked | measured on |", "|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: row.nanoseconds):
        ratio = row.nanoseconds / base
        over = f"{ratio:,.2f}" if ratio < 10 else f"{ratio:,.0f}"
        lines.append(f"| {row.name} | {row.nanoseconds:,.0f} | {over}x | {row.target} | {row.cells:,} stock-sessions |")
    return "\n".join(lines)


def slope(sizes: list[int], seconds: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def scaling(estimator: str, base: int, rounds: int) -> dict[str, tuple[list[int], list[float]]]:
    """Seconds by number of stocks, sessions and length of the window."""
    params = replace(EQUAL, estimator=estimator)
    stocks, sessions, windows = [base, 2 * base, 4 * base, 8 * base], [500, 1000, 2000, 4000], [63, 126, 252, 504]
    found = {}
    for name, sizes, make in (
        ("stocks", stocks, lambda k: (Panel.of(k, 1000, 252), params)),
        ("sessions", sessions, lambda k: (Panel.of(2 * base, k, 252), params)),
        ("window", windows, lambda k: (Panel.of(2 * base, 1000, k), replace(params, window=k, min_obs=k // 2))),
    ):
        jobs = {str(k): partial(ours, *make(k), Outputs.of(make(k)[0])) for k in sizes}
        times = interleaved(jobs, rounds)
        found[name] = (sizes, list(times.values()))
    return found


def plot(found: dict[str, dict[str, tuple[list[int], list[float]]]]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "erm3"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.4), sharey=True)
    for axis, name in zip(axes, ("stocks", "sessions", "window"), strict=True):
        for estimator, curves in found.items():
            sizes, seconds = curves[name]
            axis.loglog(sizes, seconds, "o-", label=f"{estimator}, slope {slope(sizes, seconds):.2f}")
        axis.set_xlabel(name)
        axis.set_xticks(sizes, [str(k) for k in sizes], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel("seconds")
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


def memory(stocks: int, sessions: int) -> tuple[float, float]:
    """(MB of inputs and outputs, MB at the peak beyond what was there before and those)."""
    panel = Panel.of(stocks, sessions, 252)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    done = model.cascade(panel.r, panel.etf, 0, panel.sector, panel.subsector, panel.wanted, 0, EQUAL)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    outputs = sum(a.nbytes for a in (done.beta, done.se, done.n_obs, done.reason)) / 2**20
    inputs = sum(a.nbytes for a in (panel.r, panel.sector, panel.subsector, panel.wanted)) / 2**20
    return inputs + outputs, max(after - before - outputs, 0.0)


def bandwidth() -> float:
    """GB/s of reading and writing one array after the other, one thread."""
    a, b = np.ones(20_000_000), np.empty(20_000_000)
    seconds = interleaved({"copy": lambda: floor.copy(a, b)}, 5)["copy"]
    return 2 * a.nbytes / seconds / 1e9


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    arguments.add_argument("--quick", action="store_true")
    quick = arguments.parse_args().quick
    spare = memory(500 if quick else 3000, 500 if quick else 2000)
    speed = bandwidth()
    ols = ols_rows(64 if quick else 256, 500 if quick else 2000, 252, 3 if quick else 5)
    huber = huber_rows(16 if quick else 64, 300 if quick else 1000, 252, 3, 4 if quick else 20)
    sizes = {"ols": 16, "huber": 8} if quick else {"ols": 256, "huber": 32}
    growth = {name: scaling(name, base, 3) for name, base in sizes.items()}
    night = Panel.of(3000, 1, 252)
    of_night = {name: replace(EQUAL, estimator=name, half_life=126.0) for name in ("ols", "huber")}
    reused = Outputs.of(night)
    nightly = interleaved({name: lambda p=params: ours(night, p, reused) for name, params in of_night.items()}, 7)
    text = report(ols, huber, growth, nightly, spare, speed)
    print(text)
    if not quick:
        plot(growth)
        document.REPORT.write_text(document.kernels(document.REPORT.read_text(), text))


def report(
    ols: list[Row],
    huber: list[Row],
    growth: dict[str, dict[str, tuple[list[int], list[float]]]],
    nightly: dict[str, float],
    spare: tuple[float, float],
    speed: float,
) -> str:
    slopes = [
        f"| {name} | " + " | ".join(f"{slope(*curves[by]):.2f}" for by in ("stocks", "sessions", "window")) + " |"
        for name, curves in growth.items()
    ]
    return f"""# Benchmarks

Made by `make bench` in one process, {platform.machine()}, Python {platform.python_version()}, numpy {np.__version__};
medians of interleaved rounds in processor time, one thread for the kernels. All methods compute the
three-level cascade without intercept over a window of 252. The peers that sum get complete panels
and equal weights; ours also handles gaps and weights, shown in rows of its own. Ours writes into
arrays that are used again, as the workers of the pipeline do, and so does the floor; a row says
what fresh arrays cost, which the peers always take. Absolute times are of this machine, the ratios
hold. Memory bandwidth, measured: {speed:.1f} GB/s.

## `ols`, all outputs

{ratios(ols, "ERM3, complete panel")}

## `huber`, all outputs

{ratios(huber, "ERM3, huber")}

## Growth of the cost: slopes in log-log

| estimator | stocks | sessions | window |
|---|---|---|---|
{chr(10).join(slopes)}

![scaling](benchmarks-scaling.svg)

## The kernels of one session, memory

This is arithmetic on returns that are there. What a night costs from delivered tables on is below.

| | measured | asked |
|---|---|---|
| one session x 3,000 stocks, `ols`, compute | {nightly["ols"] * 1e3:.0f} ms | <= 50 ms |
| one session x 3,000 stocks, `huber`, compute | {nightly["huber"] * 1e3:.0f} ms | <= 50 ms |
| memory of the cascade beyond {spare[0]:,.0f} MB of inputs and outputs | {spare[1]:,.0f} MB | <= 250 MB |
"""


if __name__ == "__main__":
    main()
