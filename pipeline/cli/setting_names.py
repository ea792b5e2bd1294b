"""What a setting is called: names that are none are named with the nearest one, and with where they stand."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel

PREFIX = "ERM3_"
ALIKE = 0.8
"""From which likeness on a variable `ERM3_...` that is no setting counts as a misspelt one; others are of others."""


def setting_names(group: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every setting by its dotted name, groups before their members: `model`, `model.estimator`."""
    for name, field in group.model_fields.items():
        yield before + name
        if isinstance(field.default, BaseModel):
            yield from setting_names(type(field.default), f"{before}{name}.")


def misspelt_variables(group: type[BaseModel], environ: Mapping[str, str] = os.environ) -> list[tuple[str, str]]:
    """(variable, what it should be called) for variables that resemble a setting's and would be read by nobody."""
    known = [PREFIX + name.replace(".", "__").upper() for name in setting_names(group)]
    groups = {name for name in known if any(other.startswith(f"{name}__") for other in known)}
    found = []
    for name in sorted(name for name in environ if name.upper().startswith(PREFIX)):
        spelt = name.upper()
        read = spelt in known or any(spelt.startswith(f"{group}__") for group in groups)
        if not read and (near := get_close_matches(spelt, known, n=1, cutoff=ALIKE)):
            found.append((name, near[0]))
    return found


def unknown_setting(group: type[BaseModel], place: tuple[Any, ...], environ: Mapping[str, str] = os.environ) -> str:
    """A sentence about a key that is no setting: where it stands, and the nearest name."""
    name = ".".join(str(part) for part in place)
    variable = PREFIX + "__".join(str(part) for part in place).upper()
    stands = variable if variable in {given.upper() for given in environ} else "erm3.toml"
    near = get_close_matches(name, list(setting_names(group)), n=1)
    return f"there is no such setting, found in {stands}" + (f"; is {near[0]!r} meant?" if near else "")


def origins(group: type[BaseModel], given: Collection[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """By dotted name, where each setting that is no default comes from. given: names on the command line."""
    path = Path(str(group.model_config.get("toml_file")))
    file = tomllib.loads(path.read_text()) if path.is_file() else {}
    variables = {name.upper(): name for name in environ}
    found = {}
    for name in setting_names(group):
        way = name.split(".")
        outer = [PREFIX + "__".join(way[:k]).upper() for k in range(len(way), 0, -1)]
        if name in given:
            found[name] = "the command line"
        elif variable := next((variables[one] for one in outer if one in variables), None):
            found[name] = f"the variable {variable}"
        elif _stands(file, way):
            found[name] = str(path)
    return found


def _stands(table: Any, way: Sequence[str]) -> bool:
    for part in way:
        if not isinstance(table, Mapping) or part not in table:
            return False
        table = table[part]
    return True
