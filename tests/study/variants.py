"""The choices that are compared, and the hedge ratios that each would have published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline import model
from pipeline.model import KernelParams
from tests.study.panel import Panel

Floats = NDArray[np.float64]
DEFAULT = KernelParams()
MIN_PEERS = 5


@dataclass(frozen=True)
class Variant:
    """One choice. group: of the table; params: of the fit; links: window of the link betas where it is another one.

    to: whom L2 and L3 shrink to: none, industry, sector or universe; min_peers, l1: whether L1 is shrunk as well.
    weight: how alpha is made of se and the peers: vasicek, less_error (tau2 less the peers' mean se2) or by_side (tau2
    of the peers on the stock's own side of the mean).
    returns: plain, scaled (each by its own EWMA volatility with this decay) or two_day (overlapping). every: sessions,
    or "month". thin: compared on the fifth of the stocks that trades least.
    """

    name: str
    group: str
    params: KernelParams = DEFAULT
    to: str = "industry"
    min_peers: int = MIN_PEERS
    l1: bool = False
    weight: str = "vasicek"
    links: int | None = None
    returns: str = "plain"
    every: int | str = 1
    decay: float = 0.94
    thin: bool = False


def kernel(window: int = 252, half_life: float | None = 126.0, estimator: str = "huber", **more: float) -> KernelParams:
    return replace(DEFAULT, estimator=estimator, window=window, half_life=half_life, min_obs=126, **more)  # type: ignore[arg-type]


def variants() -> Iterator[Variant]:
    """The default first."""
    yield Variant("default", "default")
    for name in ("ols", "ridge"):
        more = {"ridge_alpha": 2e-6} if name == "ridge" else {}
        yield Variant(name, "estimator", kernel(estimator=name, **more))
    yield Variant("ols, 504, half-life 90", "estimator", kernel(504, 90.0, "ols"))
    for window, half_life in (
        (126, 63.0), (252, None), (252, 42.0), (252, 63.0), (252, 90.0), (252, 252.0),
        (504, None), (504, 63.0), (504, 90.0), (504, 126.0), (756, 90.0), (756, 126.0),
    ):  # fmt: skip
        said = f"half-life {half_life:.0f}" if half_life else "equal weights"
        yield Variant(f"window {window}, {said}", "window and half-life", kernel(window, half_life))
    for to in ("none", "sector", "universe"):
        yield Variant(f"shrunk to {to}", "shrinkage", to=to)
    yield Variant("L1 shrunk as well", "shrinkage", l1=True)
    yield Variant("ols, not shrunk", "shrinkage", kernel(estimator="ols"), to="none")
    for peers in (3, 10, 20):
        yield Variant(f"min_peers {peers}", "min_peers", min_peers=peers)
    for window in (126, 504):
        yield Variant(f"link betas of {window} sessions", "link betas", links=window)
    yield Variant("refit weekly", "refit", every=5)
    yield Variant("refit at month end", "refit", every="month")
    yield Variant("tau2 less measurement error", "candidate", weight="less_error")
    yield Variant("tau2 of the stock's own side", "candidate", weight="by_side")
    yield Variant("returns over their EWMA volatility, 0.94", "candidate", returns="scaled")
    yield Variant("returns over their EWMA volatility, 0.99", "candidate", returns="scaled", decay=0.99)
    yield Variant("returns of two sessions, overlapping", "candidate", returns="two_day")
    yield Variant("the same, least traded fifth", "candidate", returns="two_day", thin=True)


@dataclass
class Hedges:
    """Two fits are kept, the default's and the last other one: variants that only shrink otherwise share one."""

    panel: Panel
    fits: dict[tuple[KernelParams, str, float], tuple[model.Cascade, Floats, Floats]] = field(default_factory=dict)

    def of(self, variant: Variant) -> Floats:
        """(6, n, T) hedge ratios as of each session, NaN before a window fits."""
        panel = self.panel
        beta = self.adjusted(variant)
        _, etf, scale = self._fit(variant)
        start = variant.params.window - 1
        sector, subsector = panel.sector[:, start:], panel.subsector[:, start:]
        links_of = replace(variant.params, window=variant.links) if variant.links else variant.params
        links = model.link_betas(etf, panel.market, panel.pairs, panel.first, links_of)
        shift = links_of.window - 1 - start
        links = model.LinkBetas(*(_shifted(part, shift) for part in (links.on_market, links.sub_on_sector)))
        ratios = model.hedge_ratios_of_stocks(beta, links, panel.pairs, sector, subsector)
        out = np.full((6, *panel.r.shape), np.nan)
        out[..., start:] = ratios
        if variant.returns == "scaled":
            for k, leg in enumerate((0, 0, 1, 0, 1, 2)):
                out[k] *= scale[: len(panel.r)] / _leg(panel, scale[len(panel.r) :], leg)
        return out if variant.every == 1 else _held(out, _refits(panel, variant.every))

    def adjusted(self, variant: Variant) -> Floats:
        """(3, n, T - window + 1) betas after shrinkage."""
        done, start = self._fit(variant)[0], variant.params.window - 1
        return np.stack([self._shrunk(variant, done, k, start) for k in range(3)])

    def _fit(self, variant: Variant) -> tuple[model.Cascade, Floats, Floats]:
        params, returns = variant.params, variant.returns
        key = params, returns, variant.decay
        if key not in self.fits:
            panel = self.panel
            r, etf, scale = panel.r, panel.etf, np.ones((1, 1))
            if returns == "scaled":
                scale = ewma_volatility(np.concatenate([r, etf]), variant.decay)
                before = np.concatenate([np.full((len(scale), 1), np.nan), scale[:, :-1]], axis=1)
                r, etf = r / before[: len(r)], etf / before[len(r) :]
            elif returns == "two_day":
                r, etf = _two_sessions(r), _two_sessions(etf)
            start = params.window - 1
            sector, subsector = panel.sector[:, start:], panel.subsector[:, start:]
            wanted = np.isfinite(panel.r[:, start:])
            done = model.cascade(r, etf, panel.market, sector, subsector, wanted, panel.first, params)
            self.fits = {k: fit for k, fit in self.fits.items() if k[:2] == (DEFAULT, "plain")}
            self.fits[key] = done, etf, scale
        return self.fits[key]

    def _shrunk(self, variant: Variant, done: model.Cascade, level: int, start: int) -> Floats:
        beta, panel = done.beta[level], self.panel
        if variant.to == "none" or (level == 0 and not variant.l1):
            return beta
        one = np.ones(beta.shape, np.int16)
        industry, sector, subsector = (x[:, start:] for x in (panel.industry, panel.sector, panel.subsector))
        fact = np.ascontiguousarray((one, sector + one, subsector + one)[level])
        cell = {"industry": industry, "sector": sector + one, "universe": one}[variant.to]
        if variant.to == "universe":
            fact = one
        cell, weight = np.ascontiguousarray(cell), np.ascontiguousarray(panel.log_weight[:, start:])
        se, member = done.se[level], np.isfinite(beta)
        if variant.weight == "vasicek":
            return model.shrink(beta, se, fact, cell, weight, member, variant.min_peers)[0]
        return _shrunk_otherwise(beta, se, fact, cell, weight, variant.min_peers, variant.weight)


def ewma_volatility(x: Floats, decay: float) -> Floats:
    """(n, T) square roots of the exponentially weighted squares up to each session; a missing return changes nothing.

    >>> ewma_volatility(np.array([[0.01, 0.01, np.nan]]), 0.94).round(4).tolist()
    [[0.01, 0.01, 0.01]]
    """
    out, variance = np.empty_like(x), np.full(len(x), np.nan)
    for t in range(x.shape[1]):
        square = x[:, t] ** 2
        updated = np.where(np.isfinite(variance), decay * variance + (1 - decay) * square, square)
        variance = np.where(np.isfinite(square), updated, variance)
        out[:, t] = np.sqrt(np.maximum(variance, 1e-8))
    return out


def _two_sessions(x: Floats) -> Floats:
    return np.concatenate([np.full((len(x), 1), np.nan), x[:, 1:] + x[:, :-1]], axis=1)


def _leg(panel: Panel, x: Floats, leg: int) -> Floats:
    """(n, T) of each stock's market, sector or subsector ETF, from (E, T); NaN for none."""
    if leg == 0:
        return np.broadcast_to(x[panel.market], panel.r.shape)
    row = panel.sector if leg == 1 else panel.subsector
    return np.where(row >= 0, x[row, np.arange(x.shape[1])], np.nan)


def _shifted(x: Floats, shift: int) -> Floats:
    """Columns that start `shift` sessions later than those wanted, NaN in front; or earlier, cut."""
    if shift <= 0:
        return np.ascontiguousarray(x[:, -shift:])
    return np.ascontiguousarray(np.concatenate([np.full((len(x), shift), np.nan), x], axis=1))


def _refits(panel: Panel, every: int | str) -> NDArray[np.bool_]:
    if every == "month":
        month = panel.sessions.astype("datetime64[M]")
        return np.append(month[1:] != month[:-1], False)
    return (np.arange(len(panel.sessions)) + panel.first) % int(every) == 0


def _held(ratios: Floats, refit: NDArray[np.bool_]) -> Floats:
    """Ratios of the last session at which they were made anew."""
    last = np.maximum.accumulate(np.where(refit, np.arange(len(refit)), -1))
    return np.where(last >= 0, ratios[..., last], np.nan)


def _shrunk_otherwise(
    beta: Floats, se: Floats, fact: NDArray, cell: NDArray, weight: Floats, least: int, how: str
) -> Floats:
    """As `model.shrink`, with another tau2 in se2 / (se2 + tau2); plain numpy, session by session."""
    out = beta.copy()
    for t in range(beta.shape[1]):
        have = np.flatnonzero(np.isfinite(beta[:, t]) & (cell[:, t] > 0))
        if not len(have):
            continue
        _, group = np.unique(cell[have, t].astype(np.int64) * 1000 + fact[have, t], return_inverse=True)
        w, b, e2 = weight[have, t], beta[have, t], se[have, t] ** 2
        n, total = np.bincount(group), np.bincount(group, w)
        mean = (np.bincount(group, w * b) / total)[group]
        square = w * (b - mean) ** 2
        if how == "less_error":
            tau2 = ((np.bincount(group, square) - np.bincount(group, w * e2)) / total)[group]
        else:
            side = group * 2 + (b > mean)
            most = 2 * len(n)
            tau2 = (np.bincount(side, square, most) / np.maximum(np.bincount(side, w, most), 1e-12))[side]
        alpha = np.where(n[group] >= least, e2 / (e2 + np.maximum(tau2, 1e-8)), 0.0)
        out[have, t] = (1 - alpha) * b + alpha * mean
    return out
