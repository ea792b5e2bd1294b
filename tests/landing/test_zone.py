"""The landing zone: whole or not at all, by content, one line for each attempt."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.landing.clock import stamp
from pipeline.landing.requests import Class, Line, Request
from pipeline.landing.shape import shape_of
from pipeline.landing.zone import LandingZone, RawDamaged

NIGHT = datetime(2026, 10, 30, 22, tzinfo=UTC)


def line_at(minutes: int, key: str = "v/eod/AAPL.US") -> Line:
    at = stamp(NIGHT + timedelta(minutes=minutes))
    return Line("v", "eod", key, at, at, 200, 0, "", Class.OK, 1, "night-20261030", "", "")


def test_the_same_content_again_is_one_more_line_and_no_more_bytes(tmp_path: Path) -> None:
    zone = LandingZone(tmp_path)
    first = zone.land(line_at(0), b"[1]")
    second = zone.land(line_at(60 * 24), b"[1]")  # on another day
    zone.flush()
    assert first.object == second.object == f"v/eod/2026/10/30/{first.sha256[:2]}/{first.sha256}.gz"
    assert len(list(tmp_path.rglob("*.gz"))) == 1
    assert [line.received_at for line in LandingZone(tmp_path).lines()] == [first.received_at, second.received_at]


def test_a_body_has_the_same_bytes_whenever_it_is_written(tmp_path: Path) -> None:
    for place in ("a", "b"):
        LandingZone(tmp_path / place).land(line_at(0), b"[1, 2]")
    a, b = (next((tmp_path / place).rglob("*.gz")).read_bytes() for place in ("a", "b"))
    assert a == b
    assert gzip.decompress(a) == b"[1, 2]"


def test_lines_are_those_received_by_an_instant(tmp_path: Path) -> None:
    zone = LandingZone(tmp_path)
    for minutes in (0, 5, 9):
        zone.land(line_at(minutes), b"[%d]" % minutes)
    assert len(zone.lines(NIGHT + timedelta(minutes=5))) == 2
    assert len(zone.lines(NIGHT - timedelta(seconds=1))) == 0


def test_lines_that_another_process_lands_meanwhile_are_seen_in_the_order_of_receipt(tmp_path: Path) -> None:
    zone, other = LandingZone(tmp_path), LandingZone(tmp_path)
    zone.land(line_at(5), b"[5]")
    zone.lines(source="v").clear()  # the caller's own list
    assert [line.received_at for line in zone.lines(source="v")] == [line_at(5).received_at]
    for minutes in (9, 0):
        other.land(line_at(minutes), b"[%d]" % minutes)
    other.flush()
    expected = [line_at(minutes).received_at for minutes in (0, 5, 9)]
    assert [line.received_at for line in zone.lines()] == expected
    assert [line.received_at for line in zone.lines(source="v")] == expected
    assert zone.lines(source="another") == []


def test_a_crash_between_body_and_line_leaves_a_body_that_nobody_names(tmp_path: Path) -> None:
    zone = LandingZone(tmp_path)
    zone.land(line_at(0), b"[1]")
    zone.flush()
    zone.land(line_at(0, "v/eod/MSFT.US"), b"[2]")  # and the process dies: no flush
    later = LandingZone(tmp_path)
    assert [line.request_key for line in later.lines()] == ["v/eod/AAPL.US"]
    problems, orphans = later.verify()
    assert problems == []
    assert len(orphans) == 1


@pytest.mark.parametrize("harm", ["changed", "cut", "lost"])
def test_a_body_that_is_not_what_its_name_says_is_refused_by_name(tmp_path: Path, harm: str) -> None:
    zone = LandingZone(tmp_path)
    line = zone.land(line_at(0), b'[{"close": 1}]')
    path = tmp_path / line.object
    if harm == "changed":
        path.write_bytes(gzip.compress(b'[{"close": 2}]'))
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.unlink()
    with pytest.raises(RawDamaged, match=line.sha256):
        zone.body(line)
    assert len(zone.verify()[0]) == 1


def test_a_line_reads_back_as_it_was_written() -> None:
    line = line_at(0)
    assert Line.from_json(line.to_json()) == line


def test_the_key_of_a_request_does_not_depend_on_the_order_of_its_parameters() -> None:
    a = Request("v", "eod", "/eod/BRK-B.US", (("to", "2"), ("from", "1")))
    assert a.key == Request("v", "eod", "/eod/BRK-B.US", (("from", "1"), ("to", "2"))).key


def test_shapes_are_equal_when_only_values_rows_or_counted_keys_differ() -> None:
    a = {"0": {"date": "2026-01-02", "value": 1}, "1": {"date": "2026-01-03", "value": 2.5}}
    assert shape_of(a) == shape_of({"7": {"date": "x", "value": 3}, "8": {"date": None, "value": None}})
    assert shape_of([{"a": 1}]) != shape_of([{"a": "1"}])
