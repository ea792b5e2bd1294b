"""Layers: which vendor's rows count, and that a later winner changes nothing that was known before."""

from __future__ import annotations

import numpy as np

from pipeline.settings import Settings
from pipeline.vendors.contract import VendorTables
from pipeline.vendors.layers import merge


def counts(code: str, shares: float, known: str) -> dict[str, object]:
    day = np.array(["2022-06-30"], "datetime64[s]")
    at = np.array([known], "datetime64[us]")
    return {"vendor_code": np.array([code], object), "period_end": day, "filed_at": at, "shares": np.array([shares]),
            "known_from": at}  # fmt: skip


def merged(eodhd: dict[str, object], edgar: dict[str, object]) -> list[float]:
    made = {"eodhd": VendorTables({"shares": eodhd}), "edgar": VendorTables({"shares": edgar})}
    return sorted(merge(made, Settings(sources=("eodhd", "edgar")))[0]["shares"]["shares"].tolist())


def test_the_declared_winner_counts_and_what_was_known_before_it_stays() -> None:
    early, late = "2022-07-01", "2022-08-01"
    assert merged(counts("A", 1.0, late), counts("A", 2.0, early)) == [2.0]
    assert merged(counts("A", 1.0, early), counts("A", 2.0, late)) == [1.0, 2.0]
    assert merged(counts("A", 1.0, late), counts("B", 2.0, early)) == [1.0, 2.0]
    assert merged(counts("A", 1.0, early), counts("A", 2.0, "NaT")) == [2.0]  # known by default, from the beginning
