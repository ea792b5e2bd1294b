"""The examples in the docstrings of `pipeline.query` give what they say, on the small simulated market."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

from pipeline.query import QueryFamily

MODULES = ("dates", "family", "fields", "history", "table", "values", "")
ANSWERS = [
    name
    for name, member in inspect.getmembers(QueryFamily, inspect.isfunction)
    if not name.startswith("_") and name not in ("attributes", "cells", "teo", "values", "warm", "search", "stock")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_say(name, whole, family, stocks):
    module = importlib.import_module(f"pipeline.query.{name}".rstrip("."))
    given = {"root": whole, "family": family, "stock": stocks[0], "stocks": stocks[:2]}
    said: list[str] = []
    tried = 0
    for example in doctest.DocTestFinder().find(module, extraglobs=given):
        tried += len(example.examples)
        assert (
            doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL).run(example, out=said.append).failed == 0
        ), "".join(said)
    assert tried


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_has_an_example(name):
    assert ">>>" in (getattr(QueryFamily, name).__doc__ or "")
