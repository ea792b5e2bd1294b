"""What a setting is called: names that are none are named with the nearest one, and with where they stand."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, SettingsError

from security_master.errors import ExplainedError

PREFIX = "ERM3_"
ALIKE = 0.8
"""From which likeness on a variable `ERM3_...` that is no setting counts as a misspelt one; others are of others."""


Group = TypeVar("Group", bound=BaseSettings)


class WrongSettings(ExplainedError, ValueError):
    """Settings that are none. problems: (where it stands, what is wrong with it)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{where}: {why}" for where, why in problems))


def read(group: type[Group], others: Collection[str] = (), **given: Any) -> Group:
    """Settings from what is given, the environment and the TOML file. Raises WrongSettings, with all that is wrong.

    others: variables with the group's own prefix that somebody else reads.
    """
    misspelt = misspelt_variables(group, others=others)
    if misspelt:
        wrong = "no setting has this name, and nobody would read it"
        raise WrongSettings([(name, f"{wrong}; is {near} meant?") for name, near in misspelt])
    try:
        return group(**given)
    except ValidationError as error:
        raise WrongSettings([_problem(group, problem) for problem in error.errors()]) from None
    except SettingsError as error:
        why = f"{error}; nested settings are JSON, or ERM3_GROUP__NAME for each"
        raise WrongSettings([("settings", why)]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongSettings([(str(group.model_config.get("toml_file")), f"not TOML: {error}")]) from None


def _problem(group: type[BaseModel], problem: Mapping[str, Any]) -> tuple[str, str]:
    unknown = problem["type"] == "extra_forbidden"
    why = unknown_setting(group, problem["loc"]) if unknown else problem["msg"]
    return ".".join(str(part) for part in problem["loc"]) or "settings", str(why)


def setting_names(group: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every setting by its dotted name, groups before their members: `model`, `model.estimator`."""
    for name, field in group.model_fields.items():
        yield before + name
        if isinstance(field.default, BaseModel):
            yield from setting_names(type(field.default), f"{before}{name}.")


def misspelt_variables(
    group: type[BaseModel], environ: Mapping[str, str] = os.environ, others: Collection[str] = ()
) -> list[tuple[str, str]]:
    """(variable, what it should be called) for variables that resemble a setting's and would be read by nobody.

    Behind a prefix that is the group's alone (`ERM3_DAGSTER_`) every variable is meant for it, whatever it resembles:
    the nearest is named. others: variables that somebody else reads.
    """
    prefix = str(group.model_config.get("env_prefix"))
    known = [prefix + name.replace(".", "__").upper() for name in setting_names(group)]
    groups = {name for name in known if any(other.startswith(f"{name}__") for other in known)}
    found = []
    for name in sorted(name for name in environ if name.upper().startswith(PREFIX)):
        spelt = name.upper()
        read = spelt in known or any(spelt.startswith(f"{group}__") for group in groups)
        own = prefix != PREFIX and spelt.startswith(prefix)
        near = get_close_matches(spelt, known, n=1, cutoff=0.0 if own else ALIKE)
        if not read and spelt not in others and (own or near):
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
