"""The numeric core: pure functions of arrays. No dates, no stores, no settings.

Arrays are stock-major `(n, T)` float64, NaN for missing; column j is the session with ordinal `first + j`. Outputs have
T' = T - window + 1 columns, one for each window that fits. An output column depends on its window's columns and its
ordinal alone: a nightly run (T = window) gives the bits of a backfill, for every tiling and number of threads.
Definitions: docs/methodology.md.
"""

from pipeline.model.compiled import one_build

with one_build():
    from pipeline.model.effectiveness import effectiveness, hedged_return
    from pipeline.model.explained_risk import SHARES
    from pipeline.model.hedge import (
        HEDGE_RATIOS,
        decompose,
        hedge_ratios,
        hedge_ratios_of_stocks,
        links_of_stocks,
        lstar_level,
    )
    from pipeline.model.industries import IndustryAggregates, industry_aggregates
    from pipeline.model.link_betas import LinkBetas
    from pipeline.model.params import KernelParams
    from pipeline.model.rankings import compounded, ranks, spread
    from pipeline.model.reasons import DegenerateReason
    from pipeline.model.shrinkage import Shrunk, shrink, shrink_session
    from pipeline.model.tile import Cascade, cascade, explained_risk, link_betas, reason_counts

__all__ = [
    "HEDGE_RATIOS",
    "SHARES",
    "Cascade",
    "DegenerateReason",
    "IndustryAggregates",
    "KernelParams",
    "LinkBetas",
    "Shrunk",
    "cascade",
    "compounded",
    "decompose",
    "effectiveness",
    "explained_risk",
    "hedge_ratios",
    "hedge_ratios_of_stocks",
    "hedged_return",
    "industry_aggregates",
    "link_betas",
    "links_of_stocks",
    "lstar_level",
    "ranks",
    "reason_counts",
    "shrink",
    "shrink_session",
    "spread",
]
