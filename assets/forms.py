"""Addresses of the page's own forms, filled in as far as the run knows: what is left is who decides, and why."""

from __future__ import annotations

from urllib.parse import quote_plus

import dagster as dg

from assets.names import DECIDE, RECORD

MOST_FORMS = 5
"""Forms that one step offers."""
LOCATION = "erm3"
"""Code location of a run that no page began, as pyproject.toml names it."""


def decision_form(run: dg.DagsterRun, verdict: str, session: str, security: str, rule: str = "") -> dg.UrlMetadataValue:
    """The form of a decision about a cell, or (security `*`) about what a rule said of a session's delivery."""
    about = {"verdict": verdict, "session": session, "security": security} | ({"rule": rule} if rule else {})
    return form(run, DECIDE, RECORD, {**about, "by": "", "reason": ""})


def form(run: dg.DagsterRun, job: str, op: str, fields: dict[str, str]) -> dg.UrlMetadataValue:
    """The Launchpad of a job, filled in. run: whose code location has it; fields: of the form, by name, in order."""
    origin = run.remote_job_origin
    location = origin.location_name if origin else LOCATION
    lines = ["ops:", f"  {op}:", "    config:", *(f"      {name}: {_text(value)}" for name, value in fields.items())]
    config = quote_plus("\n".join(lines) + "\n", safe=":*'/")
    return dg.MetadataValue.url(f"/locations/{quote_plus(location)}/jobs/{job}/playground/setup?config={config}")


def _text(value: str) -> str:
    """A text of YAML, quoted where it would be read as something else."""
    plain = value.replace("-", "").replace("_", "").replace(":", "").isalnum() and not value[:1].isdigit()
    return value if plain else "'" + value.replace("'", "''") + "'"
