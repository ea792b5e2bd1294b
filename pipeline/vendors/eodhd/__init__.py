"""EODHD: prices, events and listings of the US (docs/vendors.md)."""

from __future__ import annotations

from pipeline.vendors.eodhd.vendor import Eodhd

VENDOR = Eodhd()
