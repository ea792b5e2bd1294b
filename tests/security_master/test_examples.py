"""The examples in docstrings run, and asking for a ticker stays light."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import security_master
from security_master import SecurityMaster, TickerDirectory, UnknownSecurity, build, directory, lookup


@pytest.mark.parametrize("module", [build, directory, lookup], ids=lambda module: module.__name__)
def test_the_examples_of_docstrings_give_what_they_say(module: object) -> None:
    found = doctest.testmod(module, optionflags=doctest.IGNORE_EXCEPTION_DETAIL)  # type: ignore[arg-type]
    assert found.attempted > 0
    assert found.failed == 0


def test_every_public_name_is_there() -> None:
    assert {name for name in security_master.__all__ if not hasattr(security_master, name)} == set()


def test_resolving_a_ticker_does_not_import_pandas(world_path: Path) -> None:
    program = f"""
import sys
from security_master import TickerDirectory
with TickerDirectory.open({str(world_path)!r}) as directory:
    print(directory.listed(directory.resolve("META", "2022-06-09", known_as_of="2024-01-02T21:00:00Z")).name)
assert "pandas" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Facebook Inc\n"


@pytest.mark.parametrize("known_as_of", [None, "2015-01-02T21:00:00Z"])
def test_what_is_listed_is_the_row_of_the_roster(world_master: SecurityMaster, known_as_of: str | None) -> None:
    roster = world_master.roster(known_as_of).set_index("sec_id")
    for sec_id, row in roster.iterrows():
        listed = world_master.listed(str(sec_id), known_as_of)
        for name in ("name", "sec_type", "currency", "exchange", "vendor_code"):
            assert getattr(listed, name) == row[name]
        for name in ("first_session", "last_session"):
            assert (getattr(listed, name) or "NaT") == str(row[name])[:10]


def test_nothing_is_listed_under_an_unknown_id(world_path: Path) -> None:
    with TickerDirectory.open(world_path) as names, pytest.raises(UnknownSecurity, match="SAAAAAAAA"):
        names.listed("SAAAAAAAA")
