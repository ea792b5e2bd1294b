"""Only failures of the network are worth a second try."""

from __future__ import annotations

import socket

import aiohttp
import pytest
import requests
from gcsfs.retry import ChecksumError, HttpError

from assets.network import is_network_failure
from pipeline.store.objects import StoreError

OF_THE_NETWORK = [
    ConnectionResetError("connection reset by peer"),
    TimeoutError("the bucket did not answer"),
    socket.gaierror(-2, "name or service not known"),
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientPayloadError("response payload is not completed"),
    requests.ConnectionError("connection aborted"),
    requests.ReadTimeout("read timed out"),
    ChecksumError("md5 differs"),
    *(HttpError({"code": code, "message": "try again"}) for code in (408, 429, 500, 502, 503, 504)),
]
OF_SOMETHING_ELSE = [
    ValueError("prices.csv, row 3: expected a date"),
    FileNotFoundError("ds_daily.zarr/.zmetadata"),
    PermissionError("read-only file system"),
    OSError(28, "no space left on device"),
    *(HttpError({"code": code, "message": "no"}) for code in (400, 403, 404, 412)),
]


@pytest.mark.parametrize("error", OF_THE_NETWORK, ids=repr)
def test_a_failure_of_the_network_is_recognised_alone_and_as_the_cause_of_another(error: Exception) -> None:
    told = StoreError("cannot read ds_daily.zarr/.zmetadata")
    told.__cause__ = error
    assert is_network_failure(error)
    assert is_network_failure(told)


@pytest.mark.parametrize("error", OF_SOMETHING_ELSE, ids=repr)
def test_other_failures_are_final(error: Exception) -> None:
    assert not is_network_failure(error)


def test_a_cause_that_was_set_aside_does_not_count() -> None:
    told = ValueError("row 3: expected a date")
    told.__context__, told.__suppress_context__ = ConnectionResetError("reset"), True
    assert not is_network_failure(told)


def test_errors_that_lead_to_each_other_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert not is_network_failure(one)
