"""Audits as Dagster asset checks: declared for the lineage page, recorded with the numbers that a person needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.names import key_of
from assets.tables import figure, number, table
from pipeline.audits import Check, failures
from pipeline.datasets import DatasetSpec

EVERY_STORE = ("axes_are_whole", "no_variable_is_empty")
BY_DATASET: Mapping[str, tuple[str, ...]] = {
    "ds_daily": ("returns_are_numbers",),
    "ds_etf": ("returns_are_numbers",),
    "ds_masks": ("masks_are_within_size", "masks_are_as_recorded"),
    "ds_erm3_link_betas": ("home_links_are_pairs",),
    "ds_erm3_betas": (
        "coverage_holds",
        "coverage_floor",
        "only_members_have_values",
        "facts_follow_industries",
        "betas_recomputed",
    ),
    "ds_erm3_betas_adjusted": ("shrinkage_recomputed",),
    "ds_erm3_industry": ("peers_are_counted", "aggregates_recomputed"),
    "ds_erm3_hedge_weights": (
        *(f"shares_add_to_one_L{k}" for k in (1, 2, 3)),
        "net_market_beta",
        "shares_recomputed",
    ),
    "ds_erm3_returns": (
        *(f"replication_L{k}" for k in (1, 2, 3)),
        *(f"two_paths_L{k}" for k in (1, 2, 3)),
        "levels_add_up",
        "lstar_is_as_defined",
    ),
}

MEANINGS = {
    "axes_are_whole": "Every exchange session once, none skipped, up to the last one asked for; no published session "
    "or symbol is lost.",
    "no_variable_is_empty": "Every variable has values in the run's sessions, and none is infinite.",
    "returns_are_numbers": "No return below -100 % or above 10,000 %.",
    "masks_are_within_size": "No universe has more members than its size.",
    "masks_are_as_recorded": "The universes are those of the snapshots that the security master has recorded.",
    "home_links_are_pairs": "The link beta of a subsector ETF on its home sector is one of its pairs.",
    "coverage_holds": "The share of members with a beta does not fall suddenly from one session to the next.",
    "coverage_floor": "Enough of the valid members have a market beta.",
    "only_members_have_values": "Betas stand only where a stock is a valid member of the universe.",
    "facts_follow_industries": "The ETF that was used is the one of the stock's industry at that session.",
    "betas_recomputed": "A sample of betas, computed again from the stored returns by a slow second implementation.",
    "shrinkage_recomputed": "Shrunk betas, computed again from their definition by plain sums.",
    "peers_are_counted": "The companies of all industries are the stocks with a beta, a market cap and a class.",
    "aggregates_recomputed": "Industry means and variances, computed again from their definition by plain sums.",
    "net_market_beta": "The L3 hedge leaves no market beta: its cross terms are there, with the right sign.",
    "shares_recomputed": "A sample of explained-risk shares, computed again by a slow second implementation.",
    "shares_add_to_one": "The shares of explained risk of a level add to one.",
    "replication": "Hedge ratios times raw ETF returns, plus the residual, give the stock's return.",
    "two_paths": "The cleaned cascade and the hedge ratios on raw ETFs give the same factor return.",
    "levels_add_up": "The combined factor return of a level is the sum of the factor returns down to it.",
    "lstar_is_as_defined": "L* and the values at its depth are as defined.",
}

WORST_SHOWN = 20


def check_specs(spec: DatasetSpec) -> list[dg.AssetCheckSpec]:
    """The checks of a store. They block: the asset fails, before anything is published, when one of them does."""
    names = (*EVERY_STORE, *BY_DATASET[spec.dataset_id])
    return [dg.AssetCheckSpec(name, asset=key_of(spec), description=_meaning(name), blocking=True) for name in names]


def _meaning(name: str) -> str:
    kind, _, level = name.rpartition("_L")
    return f"{MEANINGS[kind]} At L{level}." if kind in MEANINGS else MEANINGS[name]


def results(spec: DatasetSpec, checks: Sequence[Check]) -> Iterator[dg.AssetCheckResult]:
    """Every check of a store as Dagster records it."""
    for check in checks:
        yield dg.AssetCheckResult(
            passed=check.passed,
            check_name=check.name,
            asset_key=key_of(spec),
            description=verdict(check),
            metadata=_metadata(check),
        )


def verdict(check: Check) -> str:
    """One sentence: what was looked at, what was found."""
    found = f"{check.value:.3g} against a bound of {check.bound:.3g}, {check.cells:,} cells seen"
    return f"{'Passed' if check.passed else 'FAILED'}: {check.explanation}: {found}."


def _metadata(check: Check) -> dict[str, Any]:
    figures = {
        "explanation": check.explanation,
        "worst value": figure(check.value),
        "bound": number(check.bound),
        "cells seen": check.cells,
        **{name.replace("_", " "): number(value) for name, value in check.counts.items()},
    }
    return figures | ({"worst cells": worst_table(check)} if check.worst else {})


def worst_table(check: Check) -> dg.TableMetadataValue:
    """The worst cells of a check, one row each."""
    return table(check.worst[:WORST_SHOWN])


def stop_on_failure(checks: Sequence[Check], staged_at: str) -> None:
    """Raises the Failure that ends the run when a check failed. It says which, by how much, and where to look."""
    broken = failures(checks)
    if not broken:
        return
    lines = [f"{check.name}: {verdict(check)}" for check in broken]
    raise dg.Failure(
        f"{broken[0].store}: {len(broken)} of {len(checks)} checks failed and nothing is published, in no store. "
        f"The staged data is kept in {staged_at}.\n" + "\n".join(lines),
        metadata={
            "store": broken[0].store,
            "failed checks": ", ".join(check.name for check in broken),
            "staged data": dg.MetadataValue.path(staged_at),
            **{f"worst cells of {check.name}": worst_table(check) for check in broken if check.worst},
        },
        allow_retries=False,
    )
