"""What a setting is made of: its unit and the values that make sense, both in its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

SCALE = 1.4826
"""Standard deviation of a normal variable over the median of its size."""


@dataclass(frozen=True)
class Unit:
    """The unit of a setting, for people."""

    name: str


def unit_of(field: FieldInfo) -> str:
    """The unit of a field of the settings; empty where it has none.

    >>> from pipeline.settings import ModelParameters
    >>> unit_of(ModelParameters.model_fields["window"])
    'sessions'
    """
    return next((one.name for one in field.metadata if isinstance(one, Unit)), "")


class Group(BaseModel):
    """Settings that belong together: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _none_in_words(value: object) -> object:
    return None if isinstance(value, str) and value.lower() == "none" else value


# Whole numbers have their smallest value in each field: a bound here would win over a narrower one there.
Number = Annotated[int, Unit("number")]
Securities = Annotated[int, Unit("securities")]
Sessions = Annotated[int, Unit("sessions")]
Days = Annotated[int, Unit("days")]
Minutes = Annotated[float, Unit("minutes")]

Share = Annotated[float, Field(ge=0, le=1), Unit("share")]
"""0 is nothing, 1 is all."""
Factor = Annotated[float, Field(gt=1), Unit("factor")]
Factors = Annotated[tuple[Factor, ...], Unit("factors")]
Multiple = Annotated[float, Field(gt=0), Unit("factor")]
"""A factor that may be below one."""
LogMove = Annotated[float, Field(gt=0), Unit("log")]
"""Size of a move in natural logarithms: 0.5 is a rise by 65% or a fall by 39%."""
Return = Annotated[float, Field(gt=0), Unit("simple return")]
Scales = Annotated[float, Field(gt=0), Unit("scales")]
"""Multiples of what is usual: 1.4826 times a median size."""
Dollars = Annotated[float, Field(gt=0), Unit("dollars")]

HalfLife = Annotated[float | None, Field(gt=0), BeforeValidator(_none_in_words), Unit("sessions")]
"""The environment, TOML and the attributes of a store have no None: there it is the word `none`."""
