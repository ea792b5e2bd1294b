"""All checks again, on what is published."""

from __future__ import annotations

import numpy as np

from pipeline.audits import Check, audit
from pipeline.calendar import xnys
from pipeline.engine.family import specs, stores
from pipeline.engine.products import product_of
from pipeline.engine.run import RangeError
from pipeline.engine.views import PublishedFamily, looked_at
from pipeline.read import published_master
from pipeline.settings import ModelParameters, Settings


def verify(settings: Settings, start: object | None = None, end: object | None = None) -> list[Check]:
    """All checks on the published data, for the sessions in [start, end] or for all that are complete."""
    family, shapes, names = PublishedFamily(settings.root), specs(settings), stores(settings)
    teo = family.view(names[-1]).teo
    days = teo[(teo >= np.datetime64(str(start or teo[0]), "D")) & (teo <= np.datetime64(str(end or teo[-1]), "D"))]
    if not len(days):
        raise RangeError(f"no published session from {start} to {end}; {teo[0]} to {teo[-1]} are published")
    sessions, model = (xnys().ordinal(days[0]), xnys().ordinal(days[-1])), made_with(settings, family)
    checks: list[Check] = []
    with published_master(settings.root) as master:
        for name in names:
            scope = looked_at(settings, shapes[name], family, master, sessions, model)
            checks += audit(name, scope, product_of(shapes[name]).audits)
    return checks


def made_with(settings: Settings, family: PublishedFamily) -> ModelParameters:
    """The model parameters that the published stores were made with, from their attributes."""
    attrs = family.view(f"ds_erm3_betas_{settings.factor_sets[0]}").dataset.attrs
    return ModelParameters(**{name: attrs[name] for name in ModelParameters.model_fields if name in attrs})
