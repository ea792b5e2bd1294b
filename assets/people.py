"""What people do from the page: a decision about a cell or a delivery, and a restatement. Each is a job with a form."""

# No `from __future__ import annotations` here: Dagster looks at the annotations of `context` and of the config itself.

from datetime import UTC, datetime
from enum import Enum
from typing import Any

import dagster as dg
import numpy as np
from pydantic import Field

from assets.deployment import Deployment
from assets.forms import form
from assets.names import DECIDE, RECORD, RESTATE, RESTATE_SESSIONS
from assets.publication import findings_shown
from assets.staging import explained, pool_of
from assets.tables import table_of
from pipeline.engine import operations
from pipeline.engine.decide import decide
from pipeline.read import read_manifest
from pipeline.settings import Settings
from pipeline.sources import Source
from pipeline.store.objects import StoreError


class Verdict(Enum):
    """What is said about a value or a delivery."""

    release = "release"
    confirm = "confirm"


class Decision(dg.Config):
    """The form of a decision (erm3 quality release, confirm)."""

    verdict: Verdict = Field(
        description="release: the value is right, or the delivery is taken as it is. confirm: the value is wrong"
    )
    session: str = Field(description="the session that it is about, as YYYY-MM-DD")
    security: str = Field("*", description="ticker of the session, or permanent id; * for the session's whole delivery")
    rule: str = Field("", description="the rule that stopped the run, where a delivery is released")
    by: str = Field(description="who decides; kept with the decision")
    reason: str = Field(description="why; kept with the decision")


class Restatement(dg.Config):
    """The form of a restatement (erm3 restate)."""

    first_session: str = Field(description="first session that may change, as YYYY-MM-DD")
    reason: str = Field(description="why history changes; kept with the publication")
    known_as_of: str = Field(
        "", description="UTC instant whose knowledge is used, as YYYY-MM-DDTHH:MM:SS; empty: that of the last session"
    )


def is_published(root: str, session: str) -> bool:
    """Whether a session (YYYY-MM-DD) is published in every store."""
    try:
        return session <= (read_manifest(root)["complete_through"] or "")
    except StoreError:
        return False


def decide_job(settings: Settings, deployment: Deployment) -> dg.JobDefinition:
    """Records a decision beside the stores."""

    @dg.op(name=RECORD)
    def record(context: dg.OpExecutionContext, config: Decision) -> None:
        with explained(context, deployment):
            now = datetime.now(UTC).replace(tzinfo=None)
            made = decide(
                settings.root, config.verdict.value, config.security.strip(), config.session.strip(),
                config.by, config.reason, now, config.rule.strip(),
            )  # fmt: skip
        told: dict[str, Any] = {"decision": made.decision, "in force from": f"{made.known_from} UTC"}
        now_what = f"{made.session} is not published: open the run that failed, and re-execute all of it"
        if is_published(settings.root, made.session):
            now_what = f"{made.session} is published, and changes only by the job {RESTATE}: the form is below"
            filled = {"first_session": made.session, "known_as_of": made.known_from, "reason": made.reason}
            told["restate it"] = form(context.run, RESTATE, RESTATE_SESSIONS, filled)
        context.add_output_metadata({**told, "now": now_what})
        context.log.info(
            f"{made.decision} {config.security} on {made.session}, by {made.by}: {made.reason}. {now_what}"
        )

    @dg.job(
        name=DECIDE,
        description="Release or confirm a quarantined value, or accept a session's delivery that a rule stopped: fill "
        "in the form under Launchpad. The failed run names the session and the rule.",
    )
    def decide_() -> None:
        record()

    return decide_


def restate_job(settings: Settings, deployment: Deployment, source: Source | None = None) -> dg.JobDefinition:
    """Publishes sessions again with later knowledge."""

    @dg.op(name=RESTATE_SESSIONS, pool=pool_of(settings.root))
    def restate(context: dg.OpExecutionContext, config: Restatement) -> None:
        with explained(context, deployment):
            instant = np.datetime64(config.known_as_of, "us") if config.known_as_of.strip() else None
            done = operations.restate(settings, config.first_session.strip(), config.reason, instant, source=source)
        published = done.publication.publication if done.publication else "nothing differs, nothing was published"
        told = {"publication": published, "first": str(done.first), "last": str(done.last)}
        changes = {"changes": table_of(done.changes.astype(str))} if len(done.changes) else {}
        context.add_output_metadata({**told, **changes, **findings_shown(done.findings)})
        context.log.info(f"{done.first} to {done.last}: {published}")

    @dg.job(
        name=RESTATE,
        description="The one declared way to change what is published: computes sessions again with later knowledge "
        "and publishes what differs, with a reason. What it replaces stays openable.",
    )
    def restate_() -> None:
        restate()

    return restate_
