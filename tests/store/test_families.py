"""A family is opened as one: readers beside a publisher never see two publications mixed."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline.read import open_dataset, open_family
from tests.store.family import publish, symbols

LOOKS = 500


def publishing(root: Path, first: int, stop: threading.Event, failed: list[BaseException]) -> None:
    """One publication after the other, until somebody has seen enough."""
    try:
        count = first
        while not stop.is_set() and count < 400:
            publish(root, f"run{count}", count, symbols(3), keep=50)  # a look takes less than fifty nights
            count += 1
    except BaseException as error:
        failed.append(error)


@pytest.mark.slow
def test_of_five_hundred_looks_with_a_publisher_beside_none_mixes_publications(tmp_path: Path) -> None:
    publish(tmp_path, "first", 5, symbols(3))
    stop, failed = threading.Event(), []
    publisher = threading.Thread(target=publishing, args=(tmp_path, 6, stop, failed))
    publisher.start()
    seen, apart = set(), 0
    try:
        for _ in range(LOOKS):
            family = open_family(tmp_path)
            prices, betas = family.dataset("ds_prices"), family.dataset("ds_betas")
            assert prices.attrs["publication"] == betas.attrs["publication"]
            assert np.array_equal(prices.teo.values, betas.teo.values)
            assert prices["return"].notnull().sum() > 0
            seen.add(family.publication)
            one, other = open_dataset("ds_prices", tmp_path), open_dataset("ds_betas", tmp_path)
            apart += one.attrs["publication"] != other.attrs["publication"]
    finally:
        stop.set()
        publisher.join()
    assert not failed
    assert len(seen) > 20, "the publisher was at work"
    assert apart > 0, "stores that are opened one by one do come apart: it is the family that holds them"
