"""Events that read differently than they did, and what stands beside them and is no drift."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.quality.event_drift import event_drift, read_events, told_events
from pipeline.settings import DataRules

RULES = DataRules().drift
SPAN, KNOWN = (100, 129), 129
SPLITS = [("A", 105, 2, 1, 100), ("B", 110, 3, 2, 110)]
DIVIDENDS = [(f"S{k:02d}", 101 + k, 0.25, "USD", "regular", "post", 101 + k) for k in range(20)]
SPIN_OFFS = [("C", 120, 0.5, np.nan, 118)]


def told(splits=SPLITS, dividends=DIVIDENDS, spin_offs=SPIN_OFFS) -> pd.DataFrame:
    return told_events(
        pd.DataFrame(splits, columns=["sec_id", "ex", "ratio_new", "ratio_old", "visible"]),
        pd.DataFrame(dividends, columns=["sec_id", "ex", "amount", "currency", "kind", "basis", "visible"]),
        pd.DataFrame(spin_offs, columns=["sec_id", "ex", "child_ratio", "value", "visible"]),
        SPAN[0],
        SPAN[1] + 5,
    )


def found(now: pd.DataFrame, **options) -> pd.DataFrame:
    return event_drift(read_events(told(), *SPAN), now, SPAN, KNOWN, KNOWN + 1, RULES, **options)


def test_the_same_events_are_no_drift_whatever_their_order():
    assert found(told(SPLITS[::-1], DIVIDENDS[::-1])).empty
    assert len(read_events(told(), *SPAN)) == 23


@pytest.mark.parametrize(
    ("now", "who", "evidence"),
    [
        (told(SPLITS[1:]), "A", "split 2:1 when it was published; now no event"),
        (told([("A", 105, 20, 1, 100), SPLITS[1]]), "A", "split 2:1 when it was published; now split 20:1"),
        (told([*SPLITS, ("D", 108, 7, 1, 100)]), "D", "no event when it was published; now split 7:1"),
        (told(spin_offs=[]), "C", "spin-off of 0.5, value not stated when it was published; now no event"),
    ],
)
def test_an_event_that_is_gone_another_or_added_is_one_finding(now, who, evidence):
    rows = found(now)
    assert rows[["sec_id", "rule", "outcome", "evidence", "detected_at"]].to_numpy().tolist() == [
        [who, "rewritten_event", "flag", evidence, KNOWN + 1]
    ]


@pytest.mark.parametrize(
    "now",
    [
        told([*SPLITS, ("D", 108, 7, 1, KNOWN + 1)]),
        told([*SPLITS, ("A", 105, 20, 1, KNOWN + 1)]),
        told([*SPLITS, ("D", SPAN[1] + 2, 7, 1, 100)]),
        told([("A", 105, 2, 1, KNOWN + 1), SPLITS[1]]),
    ],
    ids=["a late event", "a declared correction", "an event of tonight", "known later after a late night"],
)
def test_what_became_known_later_is_no_drift(now):
    assert found(now).empty


def test_events_of_who_has_ended_and_was_left_out_are_not_missed():
    assert found(told(SPLITS[1:]), left=["A"]).empty


def test_more_than_a_few_stop_the_run_and_a_few_do_not():
    few, many = (told(dividends=DIVIDENDS[n:]) for n in (RULES.events, RULES.events + 1))
    assert set(found(few)["rule"]) == {"rewritten_event"}
    stop = found(many, of_warm_up=True).query("rule == 'drift'")
    assert stop["evidence"].tolist() == [f"{RULES.events + 1} of 23 events of the warm-up were rewritten"]
    assert stop[["sec_id", "session", "outcome"]].to_numpy().tolist() == [["", KNOWN + 1, "stop"]]
