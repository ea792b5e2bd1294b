"""All checks again, on what is published."""

from __future__ import annotations

import numpy as np

from pipeline.audits import Check, Scope, audit
from pipeline.calendar import xnys
from pipeline.engine.family import RangeError, specs, stores
from pipeline.engine.views import PublishedFamily
from pipeline.read import published_master
from pipeline.settings import FactorSet, ModelParameters, Settings
from pipeline.store.windows import History


def verify(settings: Settings, start: object | None = None, end: object | None = None) -> list[Check]:
    """All checks on the published data, for the sessions in [start, end] or for all that are complete."""
    calendar, family = xnys(), PublishedFamily(settings.root)
    names = stores(settings)
    teo = family.view(names[-1]).teo
    days = teo[(teo >= np.datetime64(str(start or teo[0]), "D")) & (teo <= np.datetime64(str(end or teo[-1]), "D"))]
    if not len(days):
        raise RangeError(f"no published session from {start} to {end}; {teo[0]} to {teo[-1]} are published")
    model = made_with(settings, family)
    checks: list[Check] = []
    with published_master(settings.root) as master:
        for name in names:
            identifier = dict(specs(settings)[name].attributes)["factor_set_id"] or settings.factor_sets[0]
            looked_at = Scope(
                family=family,
                calendar=calendar,
                factor_set=FactorSet.parse(identifier),
                model=model,
                bounds=settings.audit,
                first=calendar.ordinal(days[0]),
                last=calendar.ordinal(days[-1]),
                master=master,
                history=lambda source: History(family.view(source), None, calendar),
                before=family.before,
            )
            checks += audit(name, looked_at)
    return checks


def made_with(settings: Settings, family: PublishedFamily) -> ModelParameters:
    """The model parameters that the published stores were made with, from their attributes."""
    attrs = family.view(f"ds_erm3_betas_{settings.factor_sets[0]}").dataset.attrs
    return ModelParameters(**{name: attrs[name] for name in ModelParameters.model_fields if name in attrs})
