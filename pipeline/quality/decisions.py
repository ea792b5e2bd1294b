"""What people decided about quarantined cells: an append-only file of dated facts beside the stores.

    {"sec_id": "S...", "session": "2024-04-02", "decision": "release", "known_from": "2024-04-03T13:05:00",
     "by": "anna", "reason": "spin-off, confirmed by the company"}

`release` says that the value is right: it is published, with a flag. `confirm` says that it is wrong: the close is no
price. With `sec_id` `*` the decision is about the whole delivery of that session: `confirm` withholds its prices, and
`release` accepts what stopped the run by the one rule that it names (`"rule": "lost_table"`); another rule still stops.
The last decision about a cell holds.
A decision is in force from `known_from` on: it changes what is already published only through a declared restatement.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.calendar import ALWAYS, Calendar
from pipeline.quality.findings import RULES
from pipeline.settings import DataRules
from pipeline.store.filesystem import open_objects
from security_master.errors import ExplainedError

DECISIONS_FILE = "quality_decisions.jsonl"
COLUMNS = ["sec_id", "session", "decision", "rule", "visible"]

WHOLE_SESSION = "*"
"""`sec_id` of a decision about a whole session's delivery."""

COVERAGE = "coverage"
"""The rule that too few names of the session before have a price."""

Verdict = Literal["release", "confirm"]


class WrongDecision(ExplainedError, ValueError):
    """A decision that says too little, or a line of the file that is none."""


@dataclass(frozen=True)
class QualityDecision:
    """One line of the file. session: a date; known_from: UTC instant.

    rule: the one rule that is answered, "" for all that is said about a cell. Lines about a whole session that were
    written before rules were named accept all that stopped it.
    """

    sec_id: str
    session: str
    decision: Verdict
    known_from: str
    by: str
    reason: str
    rule: str = ""

    def __post_init__(self) -> None:
        if self.rule and self.rule not in RULES:
            raise WrongDecision(f"there is no rule {self.rule!r}; `erm3 quality rules` lists them")
        if self.decision not in ("release", "confirm"):
            raise WrongDecision(f"a decision is release or confirm, found {self.decision!r}")
        for name in ("sec_id", "by", "reason"):
            if not str(getattr(self, name)).strip():
                raise WrongDecision(f"a decision needs {name}: who, about what, and why")
        for name, unit in (("session", "D"), ("known_from", "us")):
            try:
                known = not np.isnat(np.array(getattr(self, name), f"datetime64[{unit}]"))
            except ValueError:
                known = False
            if not known:
                raise WrongDecision(f"a decision needs {name} as an ISO date or instant, found {getattr(self, name)!r}")


def append_decision(root: str, decision: QualityDecision) -> None:
    """Add one line at the end of the root's file; nothing that stands there changes.

    Raises WrongDecision for one that accepts a whole session without naming the rule that stopped it.
    """
    if decision.sec_id == WHOLE_SESSION and decision.decision == "release" and not decision.rule:
        raise WrongDecision(
            "who accepts the delivery of a session names what is accepted: erm3 quality release '*' "
            f"{decision.session} --rule RULE --reason ..., with the rule that stopped the run"
        )
    said = {name: value for name, value in asdict(decision).items() if value or name != "rule"}
    line = json.dumps(said, ensure_ascii=False, sort_keys=True) + "\n"
    open_objects(root).update(DECISIONS_FILE, lambda before: (before or b"") + line.encode())


def recorded_decisions(root: str) -> list[QualityDecision]:
    """All decisions of a root, in the order in which they were made."""
    content = open_objects(root).read(DECISIONS_FILE)
    where = f"{root}/{DECISIONS_FILE}"
    try:
        return [] if content is None else parse_decisions(content.decode(), where)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise WrongDecision(f"{where}, line {line}: not UTF-8; put a whole copy back (`erm3 repair`)") from error


def accepted_sessions(root: str, known_as_of: datetime | None = None) -> frozenset[date]:
    """Sessions whose prices a person took, or withheld, although they do not cover the names: no night waits for more.

    known_as_of: aware instant; what was decided later is left out.
    """
    until = (
        np.datetime64("9999")
        if known_as_of is None
        else np.datetime64(known_as_of.astimezone(UTC).replace(tzinfo=None))
    )
    return frozenset(
        np.datetime64(one.session, "D").item()
        for one in recorded_decisions(root)
        if one.sec_id == WHOLE_SESSION
        and (one.decision == "confirm" or one.rule in ("", COVERAGE))
        and np.datetime64(one.known_from) <= until
    )


def how_to_accept(session: object) -> str:
    """What a person does who publishes a session although its prices do not cover the names."""
    return (
        f"To publish the session without them: erm3 quality release '{WHOLE_SESSION}' {session} --rule {COVERAGE} "
        "--reason ... (on the page: the job decide), and run the night again"
    )


def parse_decisions(text: str, where: str = DECISIONS_FILE) -> list[QualityDecision]:
    """The lines of a file. Raises WrongDecision, which names the line."""
    decisions = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            decisions.append(QualityDecision(**json.loads(line)))
        except (TypeError, ValueError) as error:
            raise WrongDecision(
                f"{where}, line {number}: {error}; correct the line, or append the right decision"
            ) from error
    return decisions


def read_decisions(
    root: str, calendar: Calendar, rules: DataRules, restated_as_of: np.datetime64 | None = None
) -> pd.DataFrame | None:
    """A root's decisions as `daily_panel` takes them; None when there are none.

    With a declared restatement, decisions known by its instant hold from the start.
    """
    decisions = recorded_decisions(root)
    return decisions_frame(decisions, calendar, rules, restated_as_of) if decisions else None


def decisions_frame(
    decisions: list[QualityDecision], calendar: Calendar, rules: DataRules, restated_as_of: np.datetime64 | None = None
) -> pd.DataFrame:
    """`sec_id session decision rule visible`, in the order in which they became known."""
    known = np.array([one.known_from for one in decisions], "datetime64[us]")
    visible = calendar.visible_from(known, rules.vendor_delay_minutes)
    if restated_as_of is not None:
        visible[known <= restated_as_of] = ALWAYS
    frame = pd.DataFrame(
        {
            "sec_id": [one.sec_id for one in decisions],
            "session": np.array([calendar.ordinal(one.session) for one in decisions], np.int32),
            "decision": [one.decision for one in decisions],
            "rule": [one.rule for one in decisions],
            "visible": visible.astype(np.int32),
        },
        columns=COLUMNS,
    )
    return frame.iloc[np.argsort(known, kind="stable")].reset_index(drop=True)


def withheld_prices(decisions: pd.DataFrame | None) -> dict[str, set[int]]:
    """By permanent id, WHOLE_SESSION for all securities, the sessions (ordinals) whose price people withheld.

    decisions: `decisions_frame`, None for none. The last one about a cell holds; one that accepts what a rule says of a
    session's delivery does not bring its prices back.
    """
    found: dict[str, set[int]] = {}
    for one in [] if decisions is None else decisions.to_dict("records"):
        cells = found.setdefault(one["sec_id"], set())
        if one["decision"] == "confirm":
            cells.add(int(one["session"]))
        elif one["sec_id"] != WHOLE_SESSION:
            cells.discard(int(one["session"]))
    return found
