"""docs/settings.md: every setting with its default, its unit and what it changes, a table for each group."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.settings.run import Settings
from pipeline.settings.units import unit_of

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

_HEAD = """# Settings

Written by `python -m pipeline.settings` from the fields in `pipeline/settings/`. A setting comes
from the command line, else from a variable, else from `erm3.toml` in the directory where `erm3` is
called, else it is the default. A variable is the name in capitals behind `ERM3_`, with two
underscores between a group and its member: `ERM3_SOURCE=files`, `ERM3_RULES__OUTLIERS__JUMP=0.6`.
A name that is none is an error with the nearest one, on the command line and where Dagster loads.
`erm3 doctor` says what is set, and where.

Those of `[model]` and `[rules]` change published numbers, and stand in the attributes of every
store. Keys of vendors are no settings ([vendors.md](vendors.md)); what only Dagster needs is in
`assets/deployment.py` (`ERM3_DAGSTER_...`)."""


def page() -> str:
    """The page as it should stand in docs/."""
    parts = [_HEAD]
    for name, group, about in groups(Settings):
        title, about = (f"[{name}]", about[:1].upper() + about[1:] + ".\n\n") if name else ("Without a group", "")
        rows = "\n".join(
            f"| `{key}` | {_default(field)} | {unit_of(field)} | {_cell(field.description or '')} |"
            for key, field in group.model_fields.items()
            if not isinstance(field.default, BaseModel)
        )
        if rows:
            parts.append(f"## {title}\n\n{about}| setting | default | unit | what it is |\n|---|---|---|---|\n{rows}")
    return "\n\n".join(parts) + "\n"


def groups(group: type[BaseModel], name: str = "", about: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    """(dotted name, class, description) of a group of settings and of all groups in it."""
    yield name, group, about
    for key, field in group.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from groups(type(field.default), f"{name}.{key}" if name else key, field.description or "")


def _default(field: FieldInfo) -> str:
    """A default as TOML has it; nothing where the setting is simply not set."""
    value: Any = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, dict):
        return "`{" + ", ".join(f"{key} = {json.dumps(one)}" for key, one in value.items()) + "}`"
    return f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
