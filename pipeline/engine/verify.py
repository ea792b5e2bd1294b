"""All checks again, on what is published."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor, wait

import numpy as np

from pipeline.audits import Check, audit
from pipeline.calendar import xnys
from pipeline.engine.family import specs, stores
from pipeline.engine.products import product_of
from pipeline.engine.run import RangeError
from pipeline.engine.views import PublishedFamily, looked_at
from pipeline.read import damage
from pipeline.settings import ModelParameters, Settings
from pipeline.store.objects import StoreError
from security_master import SecurityMaster


def verify(settings: Settings, start: object | None = None, end: object | None = None) -> list[Check]:
    """All checks on the published data, for the sessions in [start, end] or for all that are complete.

    The first one reads every object of the publication, whatever sessions are asked for; when it fails, the others are
    run as far as they can be read. Stores are looked at beside each other, by `threads`.
    """
    with ThreadPoolExecutor(settings.threads, "verify") as pool:
        whole, checks = pool.submit(objects_are_whole, settings.root), list[Check]()
        try:
            checks = _audited(settings, start, end, pool)
        except (StoreError, ValueError, RuntimeError):
            if whole.result().passed:
                raise
        return [whole.result(), *checks]


def _audited(settings: Settings, start: object | None, end: object | None, pool: Executor) -> list[Check]:
    """The checks of all stores."""
    family, shapes, names = PublishedFamily(settings.root), specs(settings), stores(settings)
    teo = family.view(names[-1]).teo
    days = teo[(teo >= np.datetime64(str(start or teo[0]), "D")) & (teo <= np.datetime64(str(end or teo[-1]), "D"))]
    if not len(days):
        raise RangeError(f"no published session from {start} to {end}; {teo[0]} to {teo[-1]} are published")
    sessions, model = (xnys().ordinal(days[0]), xnys().ordinal(days[-1])), made_with(settings, family)

    def audited(name: str, master: SecurityMaster) -> list[Check]:
        product = product_of(shapes[name])
        return audit(name, looked_at(settings, shapes[name], family, master, sessions, model, product), product.audits)

    with family.published.master() as master:
        found = [pool.submit(audited, name, master) for name in names]
        wait(found)  # all of them read the master
        return [check for each in found for check in each.result()]


def objects_are_whole(root: str) -> Check:
    """Every object that was published is there, and is the one that was published."""
    found = damage(root)
    return Check(
        name="objects_are_whole",
        store="publication",
        passed=not found,
        value=float(len(found)),
        bound=0.0,
        cells=len(found),
        explanation="objects that are lost, exchanged or damaged; `erm3 repair` puts back what has a whole copy",
        worst=tuple({"object": problem} for problem in found[:20]),
    )


def made_with(settings: Settings, family: PublishedFamily) -> ModelParameters:
    """The model parameters that the published stores were made with, from their attributes."""
    attrs = family.view(f"ds_erm3_betas_{settings.factor_sets[0]}").dataset.attrs
    return ModelParameters(**{name: attrs[name] for name in ModelParameters.model_fields if name in attrs})
