"""`erm3 doctor`: is everything there that a night needs?"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from pipeline.cli.console import INSTANT, AsJson, Root, SourceName, SourcePath, out, print_json, settings_of

HIDDEN = ("fetching.alert",)
"""Settings whose value may hold a secret: the address of a webhook, say."""


def doctor(
    source: SourceName = None,
    source_path: SourcePath = None,
    root: Root = None,
    now: Annotated[
        datetime | None, typer.Option(formats=INSTANT, help="The time it is, UTC; the machine's by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Versions, settings and where each comes from, root, lease, what is due, disk, source, kernels, schedules.

    Each line is `ok`, or says what to do; exit status 1 when one does. Nothing is changed.
    """
    from pipeline.engine.doctor import Line, examine
    from pipeline.settings import Settings
    from pipeline.settings.names import origins

    given = {"source": source, "source_path": source_path, "root": root}
    settings = settings_of(**given)
    instant = datetime.now(UTC) if now is None else now.replace(tzinfo=UTC)
    named = [name for name, value in given.items() if value is not None]
    lines = [Line("setting", text) for text in _told(settings, origins(Settings, named))]
    lines += examine(settings, instant, os.environ)
    if as_json:
        print_json([{**asdict(line), "ok": line.well} for line in lines])
    else:
        for line in lines:
            mark = Text("ok", "green") if line.well else Text("do", "red")
            out.print(Text.assemble(f"{line.what:<10} ", mark, f"  {line.found}", f": {line.do}" if line.do else ""))
    raise typer.Exit(0 if all(line.well for line in lines) else 1)


def _told(settings: object, found: dict[str, str]) -> list[str]:
    """`name = value, from where` of the settings that are no defaults; groups by their members."""
    said = []
    for name, where in found.items():
        value = settings
        for part in name.split("."):
            value = getattr(value, part)
        if not hasattr(value, "model_fields_set"):
            told = "set" if name in HIDDEN else json.dumps(value)
            said.append(f"{name} = {told}, from {where}")
    return said or ["all settings have their defaults (docs/settings.md)"]
