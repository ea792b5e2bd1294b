"""Every parameter can be set from the environment and from TOML, and stands in the attributes of what it made."""

from __future__ import annotations

import ast
import doctest
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

import pipeline
from pipeline.datasets.contract import RUN_ATTRIBUTES
from pipeline.engine.execution import _attributes
from pipeline.settings import DataRules, ModelParameters, Settings, factor_sets, parameter_attributes, unit_of, units

Way = tuple[str, ...]


def fields(group: BaseModel, way: Way) -> Iterator[tuple[Way, Any]]:
    for name in type(group).model_fields:
        value = getattr(group, name)
        if isinstance(value, BaseModel):
            yield from fields(value, (*way, name))
        else:
            yield (*way, name), value


PARAMETERS = dict([*fields(ModelParameters(), ("model",)), *fields(DataRules(), ("rules",))])


def another(value: Any) -> Any:
    """A value that a field accepts and that is not its default."""
    if isinstance(value, str):
        return "ols"
    if isinstance(value, tuple):
        return value[1:]
    return value + 1 if isinstance(value, int) else 0.99 * value or 0.01


def attribute(way: Way) -> str:
    return "_".join(way[1:])


def value_at(settings: Settings, way: Way) -> Any:
    value: Any = settings
    for name in way:
        value = getattr(value, name)
    return value


def toml(directory: Path, way: Way, value: Any) -> None:
    *tables, name = way
    directory.joinpath("erm3.toml").write_text(f"[{'.'.join(tables)}]\n{name} = {json.dumps(value)}\n")


@pytest.mark.parametrize("way", PARAMETERS, ids=".".join)
def test_a_parameter_set_in_the_environment_is_used_and_written_into_the_stores(way, monkeypatch):
    wanted = another(PARAMETERS[way])
    text = wanted if isinstance(wanted, str) else json.dumps(wanted)
    monkeypatch.setenv("ERM3_" + "__".join(way).upper(), text)
    settings = Settings()
    assert value_at(settings, way) == wanted != PARAMETERS[way]
    written = _attributes(settings)
    assert written == _attributes(Settings.model_construct()) | {attribute(way): json.loads(json.dumps(wanted))}


@pytest.mark.parametrize("way", PARAMETERS, ids=".".join)
def test_a_parameter_set_in_the_toml_file_is_used_and_leaves_the_others_alone(way, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    wanted = another(PARAMETERS[way])
    toml(tmp_path, way, wanted)
    settings = Settings()
    assert {one: value_at(settings, one) for one in PARAMETERS} == PARAMETERS | {way: wanted}


def test_no_half_life_is_the_word_none_in_the_environment_in_toml_and_in_the_attributes(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    toml(tmp_path, ("model", "half_life"), "none")
    assert Settings().model.half_life is None
    toml(tmp_path, ("model", "half_life"), 20.0)
    assert Settings().model.half_life == 20
    monkeypatch.setenv("ERM3_MODEL__HALF_LIFE", "none")
    settings = Settings()
    assert settings.model.half_life is None
    written = parameter_attributes(settings.model, settings.rules)
    assert written["half_life"] == "none"
    assert ModelParameters(**{name: written[name] for name in ModelParameters.model_fields}) == settings.model


def test_the_names_of_the_attributes_are_declared_and_none_is_used_twice():
    names = [attribute(way) for way in PARAMETERS]
    assert len(set(names)) == len(names)
    assert set(names) <= set(RUN_ATTRIBUTES)


@pytest.mark.parametrize(
    ("name", "value"),
    [("OUTLIERS__JUMP", "0"), ("SESSIONS__COVERAGE", "1.5"), ("OUTLIERS__JUMPS", "1"), ("DELISTINGS__IMPUTED", "-2")],
)
def test_a_bound_that_makes_no_sense_is_refused(name, value, monkeypatch):
    monkeypatch.setenv(f"ERM3_RULES__{name}", value)
    with pytest.raises(ValidationError):
        Settings()


def declared(group: type[BaseModel], way: Way = ()) -> Iterator[tuple[Way, FieldInfo]]:
    for name, field in group.model_fields.items():
        yield (*way, name), field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from declared(field.annotation, (*way, name))


DECLARED = dict(declared(Settings))


def test_each_setting_says_what_it_changes():
    assert [".".join(way) for way, field in DECLARED.items() if not field.description] == []


def test_each_number_says_its_unit():
    no_unit = {("model", "ridge_alpha")}  # a pure number
    numbers = {way for way, value in PARAMETERS.items() if not isinstance(value, str)}
    assert {way for way in numbers if not unit_of(DECLARED[way])} == no_unit


@pytest.mark.parametrize("module", [units, factor_sets], ids=lambda module: module.__name__)
def test_examples_give_what_they_say(module):
    tried = doctest.testmod(module)
    assert tried.attempted
    assert not tried.failed


@pytest.mark.parametrize("way", [way for way, value in PARAMETERS.items() if isinstance(value, int)], ids=".".join)
def test_no_whole_number_is_negative(way):
    """Of two bounds of one kind pydantic keeps one: that of the type would win over a narrower one of the field."""
    kind = {"model": ModelParameters, "rules": DataRules}[way[0]]
    value: Any = -1
    for name in reversed(way[1:]):
        value = {name: value}
    with pytest.raises(ValidationError, match="greater than or equal to"):
        kind.model_validate(value)


NO_PARAMETERS = {
    "SESSIONS_AT_ONCE",  # bounds the memory
    "_ROWS_AT_ONCE",  # likewise
    "SHOWN",  # how much a message shows
    "BLOCK",  # securities at a time
    "_SHIFT",  # a packed key
    "CODES",  # industry codes have four digits
    "COMMON_CLOSES",  # evidence of identity, whose rules are the security master's own
    "PRE, SPLIT, POST",  # the order of the events of one ex-date
}
"""Numbers at the head of a module that change no result."""


def numbers(path: Path) -> Iterator[str]:
    """Names that a module gives to numbers, or to tuples of numbers."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            plain = [leaf for leaf in ast.walk(node.value) if isinstance(leaf, ast.Constant)]
            if plain and all(type(leaf.value) in (int, float) for leaf in plain):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                yield ast.unparse(target).strip("()")


def test_no_rule_has_a_number_of_its_own_beside_the_settings():
    root = Path(pipeline.__file__).parent
    found = {
        name
        for folder in ("market_data", "quality", "returns")
        for path in (root / folder).glob("*.py")
        for name in numbers(path)
    }
    assert found <= NO_PARAMETERS


def test_the_page_of_settings_is_current():
    from pipeline.settings.page import PAGE, page

    assert PAGE.read_text() == page(), "run make docs"


def test_every_setting_stands_on_the_page_with_what_it_is():
    from pipeline.settings.names import setting_names
    from pipeline.settings.page import groups, page

    said = page()
    names = [
        name
        for name in setting_names(Settings)
        if not isinstance(value_at(Settings(), tuple(name.split("."))), BaseModel)
    ]
    assert len(names) == said.count("\n| `")
    for _, group, _ in groups(Settings):
        for name, field in group.model_fields.items():
            assert field.description, f"{group.__name__}.{name} says nothing of itself"
