"""Decisions of people, the report, the list, and what a late fact changes."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.calendar import NotASession, xnys
from pipeline.datasets.return_flags import MEANINGS, ReturnFlag
from pipeline.quality.decisions import (
    DECISIONS_FILE,
    QualityDecision,
    WrongDecision,
    append_decision,
    decisions_frame,
    parse_decisions,
    read_decisions,
    recorded_decisions,
    withheld_prices,
)
from pipeline.quality.findings import RULES
from pipeline.reports.late_changes import late_changes
from pipeline.reports.quality_report import counts_by_rule, heat_map, html_report, named, quarantined_by_session, worst
from tests.returns.hand_made import ORIGIN, Market, cell, close_of, day, equal
from tests.returns.hand_made import RULES as DATA_RULES

JUMP = [100.0, 50.2, 50.5, 51.0]


def decided(verdict: str, offset: int, known_offset: int, sec_id: str = "X") -> QualityDecision:
    known = str(close_of(known_offset))
    return QualityDecision(sec_id, str(day(offset))[:10], verdict, known, "anna", "looked at the filing")  # type: ignore[arg-type]


def frame(*decisions: QualityDecision, restated_as_of: np.datetime64 | None = None) -> pd.DataFrame:
    return decisions_frame(list(decisions), xnys(), DATA_RULES, restated_as_of)


def test_decisions_are_appended_and_read_back(tmp_path):
    root = str(tmp_path)
    assert read_decisions(root, xnys(), DATA_RULES) is None
    append_decision(root, decided("release", 1, 3))
    append_decision(root, decided("confirm", 2, 4))
    assert [one.decision for one in recorded_decisions(root)] == ["release", "confirm"]
    rows = read_decisions(root, xnys(), DATA_RULES)
    assert rows is not None
    assert rows["session"].tolist() == [ORIGIN + 1, ORIGIN + 2]
    assert rows["visible"].tolist() == [ORIGIN + 3, ORIGIN + 4]


def test_what_is_in_the_file_never_changes(tmp_path):
    append_decision(str(tmp_path), decided("release", 1, 3))
    before = (tmp_path / DECISIONS_FILE).read_bytes()
    append_decision(str(tmp_path), decided("confirm", 1, 5))
    assert (tmp_path / DECISIONS_FILE).read_bytes().startswith(before)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2"),
        ('{"sec_id": "X"}', "line 2"),
        (json.dumps({**vars(decided("release", 1, 3)), "decision": "delete"}), "release or confirm"),
        (json.dumps({**vars(decided("release", 1, 3)), "reason": " "}), "needs reason"),
    ],
)
def test_a_line_that_is_no_decision_is_named(line, says):
    good = json.dumps(vars(decided("release", 1, 3)))
    with pytest.raises(ValueError, match=says):
        parse_decisions(f"{good}\n{line}\n")


def test_a_decision_about_a_closed_day_is_refused():
    closed = QualityDecision("X", "2014-05-26", "release", str(close_of(3)), "anna", "why")
    with pytest.raises(NotASession):
        frame(closed)


def test_a_release_does_not_change_the_first_print_but_a_restatement():
    market = Market().stock("X", JUMP)
    first_print = market.panel(3, decisions=frame(decided("release", 1, 2)))
    assert cell(first_print, "X", 1)[1] == ReturnFlag.MISSING_SPLIT
    instant = close_of(3)
    restated = market.panel(
        3, restated_as_of=instant, decisions=frame(decided("release", 1, 2), restated_as_of=instant)
    )
    assert cell(restated, "X", 1) == (50.2 / 100.0 - 1.0, ReturnFlag.RELEASED)


def test_a_confirmation_holds_for_the_sessions_after_it():
    closes = [100.0, 120.0, np.nan, 121.0]
    market = Market().stock("X", closes)
    assert cell(market.panel(3), "X", 3)[0] == pytest.approx(121 / 120 - 1)
    confirmed = market.panel(3, decisions=frame(decided("confirm", 1, 2)))
    assert cell(confirmed, "X", 1)[0] == pytest.approx(0.2)  # published before anybody decided
    assert cell(confirmed, "X", 3) == (pytest.approx(0.21), ReturnFlag.OVER_GAP)


def test_the_last_decision_about_a_cell_holds():
    market = Market().stock("X", JUMP)
    instant = close_of(9)
    both = (decided("release", 1, 2), decided("confirm", 1, 4))
    restated = market.panel(3, restated_as_of=instant, decisions=frame(*both, restated_as_of=instant))
    assert cell(restated, "X", 1)[1] == ReturnFlag.MISSING_SPLIT
    undone = market.panel(3, restated_as_of=instant, decisions=frame(*both[::-1], restated_as_of=instant))
    assert cell(undone, "X", 1)[1] == ReturnFlag.MISSING_SPLIT  # the order in the file is not the order of knowing


def test_withheld_prices_are_those_of_the_last_decisions():
    said = (decided("confirm", 1, 4), decided("confirm", 2, 4), decided("release", 1, 5), decided("confirm", 1, 3, "*"))
    accepted = QualityDecision("*", said[3].session, "release", str(close_of(6)), "anna", "as it is", "lost_table")
    first = xnys().ordinal(said[3].session)
    assert withheld_prices(frame(*said, accepted)) == {"X": {first + 1}, "*": {first}}
    assert withheld_prices(None) == {}


def test_a_decision_about_another_cell_changes_nothing():
    market = Market().stock("X", JUMP)
    assert equal(market.panel(3), market.panel(3, decisions=frame(decided("release", 1, 2, sec_id="Y"))))


def test_a_late_event_is_listed_with_the_sessions_whose_windows_hold_it():
    market = Market().stock("X", [100.0, 99.0, 99.0, 99.0]).dividend("X", 1, 1.0, known_from=close_of(3))
    before, after = market.panel(3), market.panel(3, restated_as_of=close_of(3))
    assert cell(before, "X", 1)[0] == pytest.approx(-0.01)
    assert cell(after, "X", 1)[0] == pytest.approx(0.0)
    rows = late_changes(before, after, window=252)
    assert len(rows) == 1
    row = rows.iloc[0]
    assert (row["sec_id"], row["session"] - ORIGIN) == ("X", 1)
    assert (row["touched_first"] - ORIGIN, row["touched_last"] - ORIGIN) == (1, 252)
    assert (row["flag_before"], row["flag_after"]) == ("ordinary", "with_events")
    assert late_changes(before, before, 252).empty


def test_a_late_fact_changes_nothing_before_it():
    market = Market().stock("X", [100.0, 99.0, 99.0, 99.0]).dividend("X", 2, 1.0, known_from=close_of(3))
    rows = late_changes(market.panel(3), market.panel(3, restated_as_of=close_of(3)), 252)
    assert rows["session"].min() == ORIGIN + 2


def test_panels_of_different_cells_are_not_compared():
    market = Market().stock("X", JUMP)
    with pytest.raises(ValueError, match="one roster and range"):
        late_changes(market.panel(3), market.panel(2), 252)


def some_findings() -> pd.DataFrame:
    market = Market().stock("X", [50.0, 1e6, 51.0, 0.51, 51.2]).stock("Y", [20.0, 20.0, 55.0], volume=[1e6, 1e6, 9e7])
    return market.dividend("Y", 4, 0.5).panel(4).quarantine


@pytest.mark.parametrize(("name", "value"), [("session", "someday"), ("session", ""), ("known_from", "later")])
def test_a_line_with_a_date_that_is_none_is_named(tmp_path, name, value):
    line = {**vars(decided("release", 3, 3)), name: value}
    (tmp_path / DECISIONS_FILE).write_text(json.dumps(line) + "\n")
    with pytest.raises(WrongDecision, match=rf"{DECISIONS_FILE}, line 1: a decision needs {name} as an ISO date"):
        recorded_decisions(str(tmp_path))


def test_decisions_that_are_no_text_are_named_with_their_line(tmp_path):
    (tmp_path / DECISIONS_FILE).write_bytes(b"\n\xff\n")
    with pytest.raises(WrongDecision, match=rf"{DECISIONS_FILE}, line 2: not UTF-8"):
        recorded_decisions(str(tmp_path))


def test_findings_are_counted_by_rule_in_the_order_of_the_rules():
    counts = counts_by_rule(some_findings())
    assert counts["rule"].tolist() == [name for name in RULES if name in set(counts["rule"])]
    assert dict(zip(counts["rule"], counts["findings"], strict=True))["bad_print"] == 1
    assert set(counts["level"]) <= {"bar", "event", "return", "panel", "drift"}


def test_the_worst_come_first_and_quarantine_before_flags():
    shown = worst(some_findings(), 2)
    assert shown["rule"].tolist() == ["bad_print", "impossible_price"]


def test_the_calendar_shows_each_session_once_and_darker_where_more_is_quarantined():
    findings = some_findings()
    assert quarantined_by_session(findings).to_dict() == {ORIGIN + 1: 1, ORIGIN + 3: 1}
    svg = heat_map(findings, xnys().sessions, ORIGIN, ORIGIN + 20)
    assert svg.count("<rect") == 21
    assert svg.count(": 1 quarantined") == 2


def test_the_report_is_one_page_with_names_dates_and_meanings():
    odd = pd.DataFrame({"month": [np.datetime64("2014-05")], "sessions": [20], "correlation": [0.2]})
    page = html_report(some_findings(), {"X": "XYZ"}, xnys().sessions, ORIGIN, ORIGIN + 4, odd)
    for expected in ("XYZ", "2014-05-02", RULES["bad_print"].meaning, "<svg", "0.2"):
        assert expected in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")  # nothing is fetched


def test_findings_get_tickers_and_dates():
    rows = named(some_findings(), {"X": "XYZ"}, xnys().sessions)
    assert rows["ticker"].tolist()[0] == "XYZ"
    assert rows["session"].tolist()[0] == "2014-05-02"


def test_every_flag_has_a_meaning_and_a_code_of_its_own():
    assert set(MEANINGS) == set(ReturnFlag)
    assert len({int(flag) for flag in ReturnFlag}) == len(ReturnFlag)
    assert max(ReturnFlag) < 2**15
