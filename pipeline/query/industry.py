"""Industries: mean and dispersion of their stocks' raw betas, at a session and through time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.query.dates import month_before
from pipeline.query.errors import one_of, within
from pipeline.query.fields import INDUSTRY, LEVELS
from pipeline.query.table import Table, texts

if TYPE_CHECKING:
    import xarray as xr

    from pipeline.query.family import QueryFamily

VARIABLES = ("beta_mean", "beta_variance", "n_companies", "total_log_mcap_weight", "n_facts")
MIN_PEERS = (1, 500)
CHANGES = ("1m",)


def panel(family: QueryFamily, teo: Any, level: str | None, min_peers: int | None, change: str | None) -> Table:
    """See QueryFamily.industry_panel."""
    on, cells = family.on(teo), family.cells(INDUSTRY)
    wanted = LEVELS if level is None else (one_of("level", level, LEVELS),)
    fewest = int(family.attributes(INDUSTRY)["min_peers"]) if min_peers is None else min_peers
    within("min_peers", fewest, *MIN_PEERS)
    codes = cells.store.values("fs_industry_code")
    order = np.argsort(codes, kind="stable")
    prior = None
    if change is not None:
        one_of("change", change, CHANGES)
        prior = int(np.searchsorted(family.sessions, np.datetime64(month_before(family.teo(on.session))), "right")) - 1
    parts: list[dict[str, NDArray]] = []
    for name in wanted:
        of = {variable: cells.day(variable, on.session, name)[order] for variable in VARIABLES}
        keep = of["n_companies"] >= fewest
        part: dict[str, NDArray] = {
            "industry_code": codes[order][keep].astype(np.int64),
            "fs_industry_code": codes[order][keep].astype(np.int64),
            "level": np.full(int(keep.sum()), name, object),
            **{variable: values[keep] for variable, values in of.items()},
        }
        if prior is not None:
            then = (
                cells.day("beta_mean", prior, name)[order][keep]
                if prior >= 0
                else np.full_like(part["beta_mean"], np.nan)
            )
            part["beta_mean_prior"] = then
            part["beta_mean_change"] = part["beta_mean"].astype(np.float64) - then.astype(np.float64)
        parts.append(part)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    said: dict[str, Any] = {"teo": family.teo(on.session), "min_peers": fewest}
    if change is not None:
        said["teo_prior"] = family.teo(prior) if prior is not None and prior >= 0 else None
    return Table(columns, "industry_code", said | ({"level": level} if level else {}))


def history(family: QueryFamily, level: str, start: Any, end: Any) -> xr.Dataset:
    """See QueryFamily.industry_history."""
    import xarray as xr

    one_of("level", level, LEVELS)
    first, on = family.between(start, end)
    cells = family.cells(INDUSTRY)
    codes = cells.store.values("fs_industry_code")
    data = {
        variable: (("date", "industry"), cells.block(variable, first, on.session + 1, 0, len(codes), level))
        for variable in VARIABLES
    }
    named = [family.names.industries[int(c)].name if int(c) in family.names.industries else str(c) for c in codes]
    coords = {
        "date": family.sessions[first : on.session + 1].astype("datetime64[ns]"),
        "industry": codes.astype(np.int64),
        "name": ("industry", texts(named)),
    }
    found = xr.Dataset(data, coords, {"level": level, "publication": family.publication})
    return found.set_xindex("name")  # .sel(name="Semiconductors") as well as .sel(industry=...)
