"""Vendors that are fetched: each a folder with a `VENDOR`, named once in `pipeline.settings.VENDORS`."""
