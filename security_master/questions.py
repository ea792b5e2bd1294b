"""What the evidence leaves open about identities, and what a person decided about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from security_master.dates import NEVER


@dataclass(frozen=True)
class IdentityDecision:
    """A person's answer to a question about who is who.

    choice: 'same' (as `sec_id`), 'new' or 'ignore'. known_from: the instant from which it counts.
    """

    question_id: str
    choice: str
    sec_id: str
    decided_by: str
    reason: str
    known_from: str
    batch_id: str = ""

    @property
    def content(self) -> str:
        """The decision without its batch, as the hashes in published ids know it (hence the name in front)."""
        stated = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name != "batch_id")
        return f"Decision({stated}, batch_id='')"


@dataclass(frozen=True)
class Question:
    """Something that the evidence leaves open. Open while `known_to` is NEVER."""

    question_id: str
    kind: str
    subject: dict[str, str]
    candidates: tuple[str, ...]
    detail: str
    known_from: str
    known_to: str = NEVER


def answered(question: Question, decisions: Sequence[IdentityDecision]) -> Question:
    """An open question, closed at the first decision about it."""
    answers = [d.known_from for d in decisions if d.question_id == question.question_id]
    answers = [instant for instant in answers if instant > question.known_from]
    return replace(question, known_to=min(answers)) if answers and question.known_to == NEVER else question
