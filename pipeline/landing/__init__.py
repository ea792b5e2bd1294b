"""The landing zone: what vendors answered, byte for byte, and the one place that asks them (docs/vendors.md)."""
