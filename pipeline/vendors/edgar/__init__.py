"""SEC EDGAR: dated share counts, delistings, industries (docs/vendors.md)."""

from __future__ import annotations

from pipeline.vendors.edgar.vendor import Edgar

VENDOR = Edgar()
