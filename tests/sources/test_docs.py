"""docs/sources.md tells what the code declares."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.sources.planted_faults.kinds import FAULTS
from pipeline.sources.specs import TABLES

TEXT = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()


@pytest.mark.parametrize("name", TABLES)
def test_the_table_of_columns_is_the_declared_one(name: str) -> None:
    spec = TABLES[name]
    line = next(line for line in TEXT.splitlines() if line.startswith(f"| `{name}`"))
    _, first, columns, key, _ = line.split("|")
    assert first.strip().endswith("*") == spec.required
    documented = re.findall(r"`(\w+)`(\*?)(?:=(\w+))?", columns.split(";")[0])
    assert [column for column, _, _ in documented] == [column.name for column in spec.columns]
    for column, star, default in documented:
        assert (star == "*") == spec[column].required, column
        assert default == spec[column].default, column
    assert key.strip() == ", ".join(spec.key)
    for column in spec.columns:
        for value in sorted(column.values or ()):
            assert len(column.values or ()) > 20 or value in columns, (column.name, value)


def test_every_kind_of_fault_says_what_it_does() -> None:
    for kind, fault in FAULTS.items():
        assert fault.plant.__name__ == kind
        assert fault.plant.__doc__
