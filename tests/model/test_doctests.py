"""The examples in the docstrings of `pipeline.model` give what they say."""

from __future__ import annotations

import doctest
import inspect

import pytest

from pipeline import model

FUNCTIONS = [name for name in model.__all__ if inspect.isfunction(getattr(model, name))]


def test_every_public_function_has_an_example():
    assert FUNCTIONS
    assert [name for name in FUNCTIONS if ">>>" not in (getattr(model, name).__doc__ or "")] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_public_function_gives_what_it_says(name):
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(model, name), name)
    said: list[str] = []
    assert doctest.DocTestRunner().run(example, out=said.append).failed == 0, "".join(said)
