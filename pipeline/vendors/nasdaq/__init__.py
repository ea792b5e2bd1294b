"""The symbol directory of Nasdaq: which listed symbols are funds, tests, warrants (docs/vendors.md)."""

from __future__ import annotations

from pipeline.vendors.nasdaq.vendor import Nasdaq

VENDOR = Nasdaq()
