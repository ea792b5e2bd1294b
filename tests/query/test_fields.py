"""One table of fields: names are given once, the page about them is current."""

from __future__ import annotations

import pytest

from pipeline.query import FIELDS, BadQuestion
from pipeline.query.fields import PAGE, field, page, sdk_name


def test_the_page_of_fields_is_current():
    assert PAGE.read_text() == page(), "run make docs"


def test_every_name_means_one_field():
    names = [name for f in FIELDS for name in {f.wire, f.sdk, *f.also}]
    assert len(names) == len(set(names))
    assert all(field(name) in FIELDS and sdk_name(name) for name in names)


def test_every_field_is_a_variable_of_its_store(family):
    for f in FIELDS:
        zarray = family.cells(f.store).store.metadata[f"{f.variable}/.zarray"]
        assert (len(zarray["shape"]) == 3) == bool(f.level), f.wire


def test_a_field_that_does_not_exist_is_said_to_be_none():
    with pytest.raises(BadQuestion, match="no field 'beta'"):
        field("beta")
