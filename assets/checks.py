"""Audits as Dagster asset checks: declared for the lineage page, recorded with the numbers that a person needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from assets.names import key_of
from assets.tables import figure, number, table
from pipeline.audits import EVERY_STORE, Check, failures
from pipeline.datasets import DatasetSpec
from pipeline.engine.products import product_of
from pipeline.outside.visible import visible

WORST_SHOWN = 20


def check_specs(spec: DatasetSpec) -> list[dg.AssetCheckSpec]:
    """The checks of a store. They block: the asset fails, before anything is published, when one of them does."""
    audits = (*EVERY_STORE, *product_of(spec).audits)
    return [
        dg.AssetCheckSpec(name, asset=key_of(spec), description=meaning, blocking=True)
        for audit in audits
        for name, meaning in audit.meanings.items()
    ]


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
    return visible(f"{'Passed' if check.passed else 'FAILED'}: {check.explanation}: {found}.")


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
