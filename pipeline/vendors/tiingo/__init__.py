"""Tiingo: raw bars and events of the names that a person's own key allows (docs/vendors.md)."""

from __future__ import annotations

from pipeline.vendors.tiingo.vendor import Tiingo

VENDOR = Tiingo()
