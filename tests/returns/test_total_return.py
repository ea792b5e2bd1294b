"""The definition: reference cases of one share between two closes."""

from __future__ import annotations

import doctest
import sys
from fractions import Fraction

import numpy as np
import pytest

from pipeline.returns.total_return import Event, total_return

# (name, p0, p1, events, right answer to six decimals). Events: kind, value, basis.
CASES = [
    ("plain", 100, 101, [], 0.01),
    ("cash dividend", 100, 99.5, [("cash", 1.0, "pre")], 0.005),
    ("AAPL 3.29 ex 2014-05-08", 592.33, 588.12, [("cash", 3.29, "pre")], -0.001553),
    ("AAPL 7:1 2014-06-09", 645.57, 93.70, [("split", 7, "pre")], 0.016001),
    ("AAPL 4:1 2020-08-31", 499.23, 129.04, [("split", 4, "pre")], 0.033912),
    ("AIG 1:20 2009-07-01", 1.13, 18.08, [("split", Fraction(1, 20), "pre")], -0.2),
    ("USO 1:8 2020-04-29", 2.13, 18.00, [("split", Fraction(1, 8), "pre")], 0.056338),
    ("split and dividend, post basis", 100, 50.5, [("split", 2, "pre"), ("cash", 0.5, "post")], 0.02),
    ("split and dividend, pre basis", 100, 50.5, [("cash", 0.5, "pre"), ("split", 2, "pre")], 0.015),
    ("5 % stock dividend", 42, 40.5, [("split", Fraction(21, 20), "pre")], 0.0125),
    ("special dividend", 100, 73.5, [("cash", 25, "pre")], -0.015),
    ("Altana special 2007-05-15", 69.35, 27.17, [("cash", 47.06, "pre")], 0.070368),
    ("GOOG class C to class A 2014-04-03", 1135.10, 571.50, [("cash", 569.74, "pre")], 0.005409),
    ("the same as a 2:1 split, which it is not", 1135.10, 571.50, [("split", 2, "pre")], 0.006960),
    ("GOOG true-up 2015-04-27", 565.06, 555.37, [("split", Fraction("1.0027455"), "pre")], -0.014450),
    ("AIG warrants 2011-01-20", 51.20, 43.18, [("cash", 8.42, "pre")], 0.007812),
    ("NWSA to FOXA 2013-07-01", 32.60, 29.40, [("cash", 3.82, "pre")], 0.019018),
    ("spin-off 1:4", 80, 73, [("cash", 7.5, "pre")], 0.00625),
    ("spin-off, then 1:3 reverse split", 30, 67.5, [("cash", 8.0, "pre"), ("split", Fraction(1, 3), "pre")], 0.016667),
    ("the same with the wrong basis", 30, 67.5, [("split", Fraction(1, 3), "pre"), ("cash", 8.0, "post")], -0.161111),
    ("EUR 0.50 at 1.10", 40, 39.8, [("cash", 0.55, "pre")], 0.00875),
    ("EUR taken for USD", 40, 39.8, [("cash", 0.5, "pre")], 0.0075),
    ("halt", 20, 14, [], -0.3),
    ("halt with a dividend inside", 20, 14, [("cash", 0.4, "pre")], -0.28),
    ("return of capital", 10, 9.3, [("cash", 0.75, "pre")], 0.005),
    ("ADR ratio change", 30, 15.3, [("split", 2, "pre")], 0.02),
    ("flat day", 12, 12, [], 0.0),
    ("T to WBD 2022-04-11", 24.14, 19.00, [("cash", 5.806008, "pre")], 0.027589),
]


@pytest.mark.parametrize(("name", "p0", "p1", "events", "expected"), CASES, ids=[case[0] for case in CASES])
def test_the_reference_cases_come_out_right(name, p0, p1, events, expected):
    assert total_return(p0, p1, [Event(*event) for event in events]) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(
    ("p0", "p1", "dividend", "right", "adjusted"),
    [
        (69.35, 27.17, 47.06, 0.070368, 0.218932),
        (100, 73.5, 25, -0.015, -0.02),
        (1135.10, 571.50, 569.74, 0.005409, 0.010860),
    ],
)
def test_a_ratio_of_back_adjusted_closes_is_another_number(p0, p1, dividend, right, adjusted):
    r = total_return(p0, p1, [Event("cash", dividend)])
    assert r == pytest.approx(right, abs=5e-7)
    assert r != pytest.approx(adjusted, abs=1e-3)
    assert r * p0 / (p0 - dividend) == pytest.approx(adjusted, abs=5e-7)  # the identity between the two


def test_events_are_walked_by_ex_date_whatever_their_order():
    events = [Event("cash", 1.0, "pre", 3), Event("split", 2, "pre", 2), Event("cash", 2.0, "pre", 1)]
    assert total_return(100, 50, events) == total_return(100, 50, events[::-1]) == 0.04  # 2 * 50 + 2 + 2 * 1


def test_serial_reverse_splits_stay_exact():
    ratios = [Fraction(1, 35), Fraction(1, 300), Fraction(1, 2000), Fraction(1, 7)]
    back = [1 / ratio for ratio in ratios]
    events = [Event("split", ratio, "pre", k) for k, ratio in enumerate(ratios + back)]
    assert total_return(3.0, 3.0, events) == 0.0


@pytest.mark.parametrize(("p0", "p1"), [(0, 1), (1, 0), (-1, 1), (np.inf, 1), (1, np.nan)])
def test_a_price_that_is_none_is_refused(p0, p1):
    with pytest.raises(ValueError, match="positive and finite"):
        total_return(p0, p1)


def test_a_ratio_that_is_none_is_refused():
    with pytest.raises(ValueError, match="ratio must be positive"):
        total_return(1, 1, [Event("split", 0)])


def test_the_examples_of_the_definition_are_right():
    ran = doctest.testmod(sys.modules[total_return.__module__])
    assert ran.attempted >= 4
    assert ran.failed == 0
