"""Vendor errors planted into a clean market, with a ledger of what was planted."""
