"""Classes of answers: a pure function of what was asked and what came back."""

from __future__ import annotations

import pytest

from pipeline.landing.classify import classify
from pipeline.landing.requests import Class, Request

BARS = Request("eodhd", "eod", "/eod/AAPL.US")
EVENTS = Request("eodhd", "div", "/div/AAPL.US", may_be_empty=True)
LIMITED = "Data is limited by one year as you have free subscription"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, '[{"date":"2026-01-02","close":1}]', Class.OK),
        (200, "[]", Class.SUSPECT_EMPTY),
        (200, "{}", Class.SUSPECT_EMPTY),
        (200, '{"error":"internal"}', Class.ERROR_IN_200),
        (200, f'[{{"date":"2026-01-02"}},{{"warning":"{LIMITED}"}}]', Class.PARTIAL),
        (200, f'[{{"date":"2026-01-02","warning":"{LIMITED}"}}]', Class.PARTIAL),
        (200, '[{"date":"2026-01', Class.CORRUPT),
        (200, "<html>Bad Gateway</html>", Class.CORRUPT),
        (200, "Date,Open,High\n", Class.CORRUPT),
        (200, "", Class.CORRUPT),
        (401, "Unauthenticated", Class.AUTH),
        (402, "You exceeded your daily API requests limit.  Please contact support@", Class.QUOTA),
        (403, "Only EOD data allowed for free users. ", Class.PLAN),
        (403, '{"error":"Forbidden","code":403}', Class.PLAN),
        (403, "<title>Your Request Originates from an Undeclared Automated Tool</title>", Class.AUTH),
        (403, "<title>Request Rate Threshold Exceeded</title>", Class.THROTTLED),
        (404, "Ticker Not Found.", Class.NOT_FOUND),
        (422, '{"errors":{"filter":["The filter is invalid."]}}', Class.BAD_REQUEST),
        (429, "<html>Too Many Requests</html>", Class.THROTTLED),
        (502, "<html>", Class.UNAVAILABLE),
        (302, "", Class.CORRUPT),
    ],
)
def test_every_kind_of_answer_has_its_class(status: int, body: str, expected: Class) -> None:
    assert classify(status, {}, body.encode(), BARS).kind is expected


def test_an_answer_without_rows_is_fine_where_none_need_be() -> None:
    assert classify(200, {}, b"[]", EVENTS).kind is Class.EMPTY
    assert classify(200, {}, b"{}", EVENTS).kind is Class.EMPTY
