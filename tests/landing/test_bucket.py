"""A landing zone in a bucket: the same lines, bodies and tables as one in a directory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pipeline.landing.zone import LandingZone, RawDamaged
from tests.store.conftest import Emulator, emulator, new_root, started_emulator  # noqa: F401 (fixtures)
from tests.vendors.practice import CONTACT, TOKEN, Practice, morning_after, practice, session

LAST = session(60)
NAMES = ("BIDE", "CEFI")


def fetched(raw: str | None, place: Path) -> tuple[Practice, LandingZone]:
    with practice(place, morning_after(LAST), raw=raw, fetching={"names": NAMES}) as vendor:
        report = vendor.backfill(LAST)["eodhd"]
        assert (report.failed, report.stopped) == ({}, "")
        vendor.at(morning_after(session(61)))
        vendor.night(session(61))
    return vendor, LandingZone(vendor.settings.raw_root)


def test_a_bucket_holds_the_lines_and_bodies_of_a_directory_and_gives_the_same_tables(
    new_root: Callable[[], str],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # what belongs to the machine is not in the bucket
    bucket = new_root()
    (there, cloud), (here, local) = fetched(bucket, tmp_path / "a"), fetched(None, tmp_path / "b")
    mine, theirs = (
        [(line.request_key, line.nth, line.sha256, line.answer) for line in zone.lines()] for zone in (cloud, local)
    )
    assert sorted(mine) == sorted(theirs)
    assert cloud.verify() == ([], [])
    for table in ("prices", "splits", "dividends", "securities"):
        a, b = (getattr(made.source().load(), table).drop(columns="known_from") for made in (there, here))
        pd.testing.assert_frame_equal(a, b)
    for key in cloud.objects.keys(""):
        data = cloud.objects.read(key) or b""
        assert TOKEN.encode() not in data
        assert CONTACT.encode() not in data
    assert (tmp_path / "home/.local/state/erm3/ledger.sqlite").exists()
    line = next(line for line in cloud.lines() if line.object)
    cloud.objects.write(line.object, b"changed")
    with pytest.raises(RawDamaged, match="no whole gzip file"):
        cloud.body(line)
    assert dt.datetime.fromisoformat(line.received_at).tzinfo is not None
