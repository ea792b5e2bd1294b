"""A delisting that is withdrawn because the stock trades on ends no listing from then on, and did before."""

from __future__ import annotations

import numpy as np
import pytest

from security_master.listings import WITHDRAWN
from tests.security_master.tables import build, delisting, evening, listing


def master_of(path, last_session=None):
    """ABC, delisted after 2020-06-01, which a bar of the next session contradicts."""
    rows = [delisting("ABC", "2020-06-01", "voluntary")]
    rows.append(delisting("ABC", "2020-06-01", WITHDRAWN, known=evening("2020-06-02")))
    master, _ = build(path, securities=[listing("ABC", "2010-01-04", last_session)], delistings=rows)
    return master


@pytest.mark.parametrize("last_session", [None, "2020-06-01"])
def test_a_stock_that_trades_on_keeps_its_id_and_its_ticker(tmp_path, last_session):
    master = master_of(tmp_path / "master.sqlite", last_session)
    ids = master.assign(["ABC"] * 3, ["2020-06-01", "2020-06-02", "2021-06-01"])
    assert len(set(ids)) == 1
    assert master.resolve("ABC", "2021-06-01") == ids[0]
    assert np.isnat(master.roster()["last_session"].to_numpy()[0])


def test_what_was_believed_before_the_bar_is_still_told_for_that_instant(tmp_path):
    master = master_of(tmp_path / "master.sqlite")
    sec_id = str(master.assign(["ABC"], ["2020-06-01"])[0])
    before = master.history(sec_id, known_as_of="2020-06-02T12:00:00Z")
    assert "delisting" in set(before["what"])
    assert "delisting" not in set(master.history(sec_id)["what"])


def test_a_delisting_that_nothing_contradicts_ends_the_listing(tmp_path):
    master, _ = build(
        tmp_path / "master.sqlite",
        securities=[listing("ABC", "2010-01-04")],
        delistings=[delisting("ABC", "2020-06-01", "voluntary")],
    )
    assert master.assign(["ABC"], ["2020-06-02"]).tolist() == [""]


def test_a_later_delisting_of_the_same_stock_counts(tmp_path):
    rows = [delisting("ABC", "2020-06-01", "voluntary")]
    rows.append(delisting("ABC", "2020-06-01", WITHDRAWN, known=evening("2020-06-02")))
    rows.append(delisting("ABC", "2021-03-01", "merger", cash=5.0))
    master, _ = build(tmp_path / "m.sqlite", securities=[listing("ABC", "2010-01-04")], delistings=rows)
    assert (master.assign(["ABC"] * 2, ["2021-03-01", "2021-03-02"]) != "").tolist() == [True, False]
