"""What is asked wrongly is refused in the declared form: a status, a name, a sentence; no fault, path or trace."""

from __future__ import annotations

import re

import pytest
import requests

from tests.gates import PATIENCE
from tests.serve.conftest import KEY, serving

BAD = {
    "no such address": ("GET", "/nothing", None, 404),
    "a method that is none": ("DELETE", "/tickers", None, 405),
    "no ticker": ("GET", "/ticker-returns", None, 400),
    "an empty ticker": ("GET", "/ticker-returns?ticker=", None, 400),
    "a path for a ticker": ("GET", "/metrics/..%2F..%2Fetc%2Fpasswd", None, 404),
    "a path in the query": ("GET", "/ticker-returns?ticker=../../etc/passwd", None, 400),
    "a null byte": ("GET", "/metrics/A%00B", None, 400),
    "a new line": ("GET", "/metrics/A%0AB", None, 400),
    "no UTF-8": ("GET", "/metrics/%FF%FE", None, 400),
    "a long ticker": ("GET", "/metrics/" + "A" * 200, None, 400),
    "SQL": ("GET", "/metrics/A';DROP TABLE security;--", None, 400),
    "HTML": ("GET", "/metrics/<script>alert(1)<%2Fscript>", None, 404),
    "a template": ("GET", "/ticker-returns?ticker={{7*7}}", None, 400),
    "an emoji": ("GET", "/metrics/%F0%9F%98%80", None, 400),
    "a homoglyph": ("GET", "/metrics/АAPL", None, 400),
    "nobody": ("GET", "/metrics/NOBODYHERE", None, 404),
    "X#0": ("GET", "/metrics/AB%230", None, 400),
    "X#999": ("GET", "/metrics/AB%23999", None, 404),
    "an id that is none": ("GET", "/metrics/SAAAAAAAA", None, 404),
    "no date": ("GET", "/metrics/SPY?as_of=yesterday", None, 400),
    "a thirteenth month": ("GET", "/metrics/SPY?as_of=2019-13-01", None, 400),
    "30 February": ("GET", "/metrics/SPY?as_of=2019-02-30", None, 400),
    "year 0": ("GET", "/metrics/SPY?as_of=0000-01-01", None, 400),
    "Arabic digits": ("GET", "/metrics/SPY?as_of=٢٠١٩-٠١-٠١", None, 400),
    "a time": ("GET", "/metrics/SPY?as_of=2019-01-01T00:00:00Z", None, 400),
    "before everything": ("GET", "/ticker-returns?ticker=SPY&as_of=1950-01-01", None, 404),
    "year 1": ("GET", "/ticker-returns?ticker=SPY&as_of=0001-01-01", None, 404),
    "no years": ("GET", "/ticker-returns?ticker=SPY&years=0", None, 400),
    "many years": ("GET", "/ticker-returns?ticker=SPY&years=28", None, 400),
    "half a year": ("GET", "/ticker-returns?ticker=SPY&years=0.5", None, 400),
    "years in words": ("GET", "/ticker-returns?ticker=SPY&years=one", None, 400),
    "a huge number": ("GET", "/ticker-returns?ticker=SPY&years=" + "9" * 400, None, 400),
    "limit 0": ("GET", "/ticker-returns?ticker=SPY&limit=0", None, 400),
    "another form": ("GET", "/ticker-returns?ticker=SPY&format=xml", None, 400),
    "threshold of a whole": ("GET", "/lstar?ticker=SPY&threshold=1", None, 400),
    "threshold NaN": ("GET", "/lstar?ticker=SPY&threshold=nan", None, 400),
    "threshold infinite": ("GET", "/lstar?ticker=SPY&threshold=inf", None, 400),
    "another market": ("GET", "/lstar?ticker=SPY&market_factor_etf=QQQ", None, 404),
    "a depth of an ETF": ("GET", "/lstar?ticker=SPY", None, 404),
    "by ETF": ("GET", "/industry-panel?by=fact", None, 409),
    "by something": ("GET", "/industry-panel?by=sector", None, 400),
    "a level": ("GET", "/industry-panel?level=industry", None, 400),
    "few peers": ("GET", "/industry-panel?min_peers=0", None, 400),
    "many peers": ("GET", "/industry-panel?min_peers=501", None, 400),
    "another change": ("GET", "/industry-panel?change=1y", None, 400),
    "a universe": ("GET", "/universe/uni_dv_3000/members", None, 404),
    "a universe as a path": ("GET", "/universe/..%2F..%2Fmaster/members", None, 404),
    "validity is no universe": ("GET", "/universe/validity/members", None, 404),
    "a sleeve": ("GET", "/etf/factor-returns?sleeve=style", None, 400),
    "an ETF that is none": ("GET", "/etf/factor-returns?tickers=QQQ", None, 400),
    "a long search": ("GET", "/tickers?search=" + "a" * 65, None, 400),
    "an empty search": ("GET", "/tickers?search=%20", None, 400),
    "a metric": ("GET", "/rankings/top?metric=alpha", None, 400),
    "a window of a value": ("GET", "/rankings/top?metric=mkt_cap&window=21d", None, 400),
    "many best": ("GET", "/rankings/top?metric=mkt_cap&limit=101", None, 400),
    "a publication": ("GET", "/tickers?publication=000009-nobody", None, 404),
    "a publication as a path": ("GET", "/tickers?publication=../../etc", None, 400),
    "unknown fields": ("GET", "/series?ticker=SPY&fields=password", None, 400),
    "no fields": ("GET", "/series?ticker=SPY&fields=,", None, 400),
    "no table": ("GET", "/status?format=csv", None, 200),
    "no body": ("POST", "/decompose", None, 400),
    "a body that is a list": ("POST", "/decompose", [], 400),
    "a ticker that is a number": ("POST", "/decompose", {"ticker": 7}, 400),
    "no tickers": ("POST", "/batch/analyze", {"tickers": []}, 400),
    "101 tickers": ("POST", "/batch/analyze", {"tickers": [f"A{k}" for k in range(101)]}, 400),
    "tickers as a text": ("POST", "/batch/analyze", {"tickers": "AAPL"}, 400),
    "another set of metrics": ("POST", "/batch/analyze", {"tickers": ["SPY"], "metrics": ["all"]}, 400),
    "a decile": ("POST", "/rankings/screen", {"metric": "mkt_cap", "decile": 11}, 400),
    "a percentile": ("POST", "/rankings/screen", {"metric": "mkt_cap", "min_percentile": 101}, 400),
    "a sector": ("POST", "/rankings/screen", {"metric": "mkt_cap", "sector_filter": "QQQQ"}, 400),
    "no positions": ("POST", "/portfolio", {"positions": {}}, 400),
    "a position in words": ("POST", "/portfolio", {"positions": {"SPY": "many"}}, 400),
}
TELLING = re.compile(r"Traceback|File \"|/tmp|/home|\.py\b|\.zarr|sqlite|site-packages")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_question_has_the_declared_answer(name, server):
    method, path, body, status = BAD[name]
    found = server.session.request(method, f"{server.address}/api{path}", json=body, timeout=PATIENCE)
    assert found.status_code == status, found.text
    if status != 200:
        assert set(found.json()) >= {"error", "message"}
        assert found.json()["message"]
        assert found.headers["X-Request-ID"]
    assert not TELLING.search(found.text)
    assert "\x00" not in found.text


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"ticker": "' + b"A" * 900_000 + b'"}',
        b"[" * 50_000,
        b'{"ticker": NaN}',
        b"null",
        b'"x"',
    ],
)
def test_a_body_that_is_no_question_is_refused(sent, server):
    headers = {"Content-Type": "application/json"}
    found = server.session.post(f"{server.address}/api/decompose", data=sent, headers=headers, timeout=PATIENCE)
    assert found.status_code == 400, found.text
    assert set(found.json()) == {"error", "message"}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_more_than_a_megabyte_is_refused(chunked, server):
    data = (b"x" * 100_000 for _ in range(20)) if chunked else b"x" * 2_000_000
    try:
        found = requests.post(f"{server.address}/api/decompose", data=data, timeout=PATIENCE)
    except requests.ConnectionError:
        return  # closed while it was sent
    assert found.status_code == 413
    assert found.json()["error"] == "too_large"


def test_a_key_is_asked_for_before_anything_else(whole):
    with serving(whole, key=KEY) as server:
        assert server.get("/tickers").status_code == 200
        tag = server.get("/tickers").headers["ETag"]
        for given in ({}, {"Authorization": "Bearer other"}, {"Authorization": f"Basic {KEY}"}, {"X-API-Key": ""}):
            headers = {**given, "If-None-Match": tag}
            refused = requests.get(f"{server.address}/api/tickers", headers=headers, timeout=PATIENCE)
            assert (refused.status_code, refused.json()["error"]) == (401, "unauthorized")
        assert requests.get(f"{server.address}/api/tickers", headers={"X-API-Key": KEY}, timeout=PATIENCE).ok
        assert requests.get(f"{server.address}/api/health", timeout=PATIENCE).json() == {"status": "healthy"}


def test_more_requests_than_a_minute_has_are_told_when_to_come_again(whole):
    with serving(whole, key=KEY, rate=3) as server:
        assert [server.get("/tickers").status_code for _ in range(4)] == [200, 200, 200, 429]
        assert 1 <= int(server.get("/tickers").headers["Retry-After"]) <= 61


def test_a_root_without_a_publication_is_unavailable_and_not_described(tmp_path):
    with serving(tmp_path / "nothing") as server:
        found = server.get("/tickers")
        assert found.status_code == 503
        assert found.headers["Retry-After"]
        assert str(tmp_path) not in found.text
