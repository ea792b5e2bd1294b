"""Parsed documents are kept by content and by code; what is lost, damaged or of other code is parsed again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.vendors import documents
from pipeline.vendors.documents import FEW, Documents, Key


def kept(place: Path, vendor: str = "eodhd") -> dict[Key, int]:
    return dict(Documents(place, vendor))


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """The file of documents that a process has kept."""
    made = Documents(tmp_path, "eodhd")
    made.update({("parse", "eod", f"{k:064x}"): k for k in range(FEW)})
    made.keep()
    (found,) = tmp_path.rglob("*.pack")
    return found


def test_the_next_process_finds_what_one_has_parsed_and_writes_it_no_second_time(pack: Path, tmp_path: Path) -> None:
    again = Documents(tmp_path, "eodhd")
    assert sorted(again.values()) == list(range(FEW))
    again.keep()
    assert list(tmp_path.rglob("*.pack")) == [pack]
    assert kept(tmp_path, "edgar") == {}


@pytest.mark.parametrize("harm", ["lost", "changed", "cut", "empty"])
def test_a_file_that_is_not_what_its_name_says_is_believed_in_nothing(pack: Path, tmp_path: Path, harm: str) -> None:
    data = pack.read_bytes()
    if harm == "lost":
        pack.unlink()
    else:
        pack.write_bytes({"changed": data.replace(b"eod", b"div"), "cut": data[:-7], "empty": b""}[harm])
    assert kept(tmp_path) == {}
    again = Documents(tmp_path, "eodhd")
    again.update({("parse", "eod", f"{k:064x}"): k for k in range(FEW)})
    again.keep()
    assert len(kept(tmp_path)) == FEW


def test_other_code_believes_nothing_and_clears_away(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "code_version", lambda: "another")
    other = Documents(tmp_path, "eodhd")
    assert dict(other) == {}
    other.update({("parse", "eod", f"{k:064x}"): -k for k in range(FEW)})
    other.keep()
    assert not pack.exists()
    assert min(kept(tmp_path).values()) == 1 - FEW


def test_a_place_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "parsed").write_text("no directory")
    made = Documents(tmp_path, "eodhd")
    made.update({("parse", "eod", f"{k:064x}"): k for k in range(FEW)})
    made.keep()
    assert len(made) == FEW
