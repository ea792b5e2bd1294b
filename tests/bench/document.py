"""docs/benchmarks.md, which two programs write: each its own sections, and it leaves those of the other as they are."""

from __future__ import annotations

from pathlib import Path

REPORT = Path("docs/benchmarks.md")
FROM_TABLES = "## From delivered tables to published stores"
"""The section that `make bench-backfill` writes. It is the last one."""


def kernels(report: str, text: str) -> str:
    """A report whose other sections are `text`."""
    _, found, section = report.partition(f"\n{FROM_TABLES}\n")
    return f"{text.rstrip()}\n{found}{section}"


def from_tables(report: str, text: str) -> str:
    """A report whose section FROM_TABLES is `text`, without its heading."""
    return f"{report.partition(f'{chr(10)}{FROM_TABLES}{chr(10)}')[0].rstrip()}\n\n{FROM_TABLES}\n\n{text.rstrip()}\n"
