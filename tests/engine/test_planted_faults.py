"""A wrong step fails the run: the cells are named, the staged data is kept, and no reader sees a thing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from pipeline.engine import execution, verify
from pipeline.settings import AuditBounds
from pipeline.store.stage import NotAudited
from tests.engine import faults
from tests.engine.conftest import STAGED_RUN, STAGED_TO
from tests.engine.faults import in_one_cell, in_session, tampered
from tests.engine.published_market import AUDIT, FACTOR_SET, seen_by_readers, settings_for


@dataclass(frozen=True)
class Fault:
    """A fault in the step of a store, and the checks of its audit that must fail: these and no others.

    bounds: audit bounds under which nothing else can see the fault.
    """

    what: str
    plant: faults.Plant
    store: str
    caught_by: tuple[str, ...]
    bounds: dict[str, Any] = field(default_factory=dict)


LINKS = "ds_erm3_link_betas_SPY"
BETAS, ADJUSTED, INDUSTRY, HEDGE, RETURNS, EFFECTIVENESS = (
    f"ds_erm3_{kind}_{FACTOR_SET}"
    for kind in ("betas", "betas_adjusted", "industry", "hedge_weights", "returns", "effectiveness")
)
RANKINGS = f"ds_rankings_{FACTOR_SET}"
NOT_SAMPLED = 3
"""A session of the staged run that is none of the 12 at which shrinkage and aggregates are recomputed."""
FAULTS = [
    Fault("the last session of a store is lost", faults.shortened("ds_etf", "teo"), "ds_etf", ("axes_are_whole",)),
    Fault("a symbol axis is shortened", faults.shortened(BETAS, "symbol"), BETAS, ("axes_are_whole",)),
    Fault("an axis is in another order", faults.reordered("ds_daily"), "ds_daily", ("axes_are_whole",)),
    Fault(
        "a variable is all NaN",
        tampered("ds_daily", "volume", lambda v: v * np.nan),
        "ds_daily",
        ("no_variable_is_empty",),
    ),
    Fault("a value is infinite", faults.infinite_volume, "ds_daily", ("no_variable_is_empty",)),
    Fault(
        "a return is below -100 %",
        tampered("ds_daily", "return", in_one_cell(lambda r: -1.5)),
        "ds_daily",
        ("returns_are_numbers",),
    ),
    Fault("a universe takes everybody in", faults.larger_universe, "ds_masks", ("masks_are_within_size",)),
    Fault(
        "the members of a universe are other stocks",
        tampered("ds_masks", "uni_mc_50", lambda member: np.roll(member, 1, axis=1)),
        "ds_masks",
        ("masks_are_as_recorded",),
    ),
    Fault(
        "stocks are valid without a price",
        tampered("ds_masks", "validity", np.ones_like),
        "ds_masks",
        ("masks_are_as_recorded",),
    ),
    Fault(
        "the home link of an ETF is that of another ETF",
        tampered("ds_erm3_link_betas", "L3_link_sub_sec_BF", lambda beta: np.roll(beta, 1, axis=1)),
        LINKS,
        ("home_links_are_pairs",),
    ),
    Fault(
        "a third of the betas is lost",
        tampered("ds_erm3_betas", "factor_beta", faults.every_third_missing),
        BETAS,
        ("coverage_holds",),
    ),
    Fault(
        "a third of the betas is lost, and large falls are allowed",
        tampered("ds_erm3_betas", "factor_beta", faults.every_third_missing),
        BETAS,
        ("coverage_floor",),
        {"coverage_drop": 1.0, "coverage_floor": 0.9},
    ),
    Fault(
        "betas of stocks outside the universe are written",
        faults.everybody_wanted,
        BETAS,
        ("only_members_have_values", "facts_follow_industries"),
    ),
    Fault(
        "a beta of a stock outside the universe is written, without its fact",
        faults.everybody_wanted_without_facts,
        BETAS,
        ("only_members_have_values",),
        {"recomputed_cells": 0},
    ),
    Fault(
        "industries are taken by the positions of another store",
        faults.industries_of_the_wrong_store,
        BETAS,
        ("facts_follow_industries",),
    ),
    Fault("the half-life is forgotten", faults.equal_weights, BETAS, ("betas_recomputed",)),
    Fault("the window ends a session early", faults.yesterdays_window, BETAS, ("betas_recomputed",)),
    Fault(
        "returns are taken by the positions of another store",
        faults.returns_of_the_wrong_store,
        BETAS,
        ("betas_recomputed",),
    ),
    Fault(
        "standard errors forget the effective sample",
        tampered("ds_erm3_betas", "beta_se", lambda se: se * 0.97),
        BETAS,
        ("betas_recomputed",),
    ),
    Fault(
        "a level counts one observation too many",
        tampered("ds_erm3_betas", "n_obs", lambda n: n + (n > 0), 1),
        BETAS,
        ("betas_recomputed",),
    ),
    Fault(
        "stocks shrink towards the mean of another cell", faults.one_cell_for_all, ADJUSTED, ("shrinkage_recomputed",)
    ),
    Fault(
        "the weight of the mean is that of the stock",
        tampered("ds_erm3_betas_adjusted", "shrinkage_weight", lambda weight: 1 - weight, 1),
        ADJUSTED,
        ("shrinkage_recomputed",),
    ),
    Fault(
        "an industry counts a company twice, in a session that is not sampled",
        tampered("ds_erm3_industry", "n_companies", in_session(NOT_SAMPLED, in_one_cell(lambda n: n + 1))),
        INDUSTRY,
        ("peers_are_counted",),
    ),
    Fault(
        "a company is counted in the industry beside its own",
        tampered("ds_erm3_industry", "n_companies", lambda n: np.roll(n, 1, axis=1)),
        INDUSTRY,
        ("aggregates_recomputed",),
    ),
    Fault(
        "the variance forgets the spread between facts",
        tampered("ds_erm3_industry", "beta_variance", lambda v: v * 0.99),
        INDUSTRY,
        ("aggregates_recomputed",),
    ),
    *(
        Fault(
            f"a share of L{level} is scaled by 1.01",
            tampered("ds_erm3_hedge_weights", f"L{level}_market_ER", in_one_cell(lambda share: share * 1.01)),
            HEDGE,
            (f"shares_add_to_one_L{level}",),
            {"recomputed_cells": 0},
        )
        for level in (1, 2, 3)
    ),
    Fault("the cross term of the L3 market hedge is lost", faults.no_cross_term, HEDGE, ("net_market_beta",)),
    Fault("two shares stand in each other's place", faults.swapped_shares, HEDGE, ("shares_recomputed",)),
    Fault(
        "the variance is not that of the window",
        tampered("ds_erm3_hedge_weights", "_stock_var", lambda v: v * 1.01),
        HEDGE,
        ("shares_recomputed",),
    ),
    *(
        Fault(
            f"the residual of L{level} is not what is left",
            faults.decomposed(level, "residual"),
            RETURNS,
            (f"replication_L{level}",),
        )
        for level in (1, 2, 3)
    ),
    *(
        Fault(
            f"the factor returns of L{level} are not those of the hedge",
            faults.decomposed(level, "factor", "combined"),
            RETURNS,
            (f"two_paths_L{level}",),
        )
        for level in (1, 2, 3)
    ),
    Fault(
        "the factor returns do not add up to the combined one",
        faults.decomposed(2, "factor"),
        RETURNS,
        ("levels_add_up",),
    ),
    Fault(
        "the hedge depth ignores the threshold",
        tampered("ds_erm3_returns", "lstar_level", lambda depth: np.minimum(depth + 1, 3).astype(depth.dtype)),
        RETURNS,
        ("lstar_is_as_defined",),
    ),
    Fault(
        "the residual at the hedge depth is that of L1",
        tampered("ds_erm3_returns", "residual_return", lambda r: r * 0.9, 3),
        RETURNS,
        ("lstar_is_as_defined",),
    ),
    *(
        Fault(what, plant, EFFECTIVENESS, ("realised_from_published_ratios",))
        for what, plant in (
            ("the hedge is bought where it should be sold", faults.realised(faults.long_the_hedge)),
            ("the hedge earns yesterday's ETF returns", faults.realised(faults.yesterdays_etf)),
            ("the realised hedge lacks its cross term", faults.realised(faults.hedged_without_the_cross_term)),
            ("the hedge is that of the same evening", faults.ratios_of_another_session(1)),
            ("the hedge is a day older than it need be", faults.ratios_of_another_session(-1)),
        )
    ),
    Fault(
        "the variance left is that of another window",
        tampered("ds_erm3_effectiveness", "variance_share_63", lambda share: np.roll(share, 1, axis=0)),
        EFFECTIVENESS,
        ("effectiveness_recomputed",),
    ),
    Fault(
        "the market beta left has the other sign",
        tampered("ds_erm3_effectiveness", "market_beta_left_63", np.negative, 2),
        EFFECTIVENESS,
        ("effectiveness_recomputed",),
    ),
    Fault(
        "a share is promised that nobody had published",
        tampered("ds_erm3_effectiveness", "promised_share_63", lambda share: np.nan_to_num(share, nan=0.5)),
        EFFECTIVENESS,
        ("promises_are_as_published",),
    ),
    *(
        Fault(what, plant, RANKINGS, ("ranks_recounted",))
        for what, plant in (
            ("rank 1 is the smallest", faults.ranked(lambda right, v, cohorts: right(-v, cohorts))),
            ("equal values are ranked in the order of their columns", faults.ranked(faults.ties_in_order)),
            ("who is no member is ranked", faults.ranked(faults.everybody_ranked)),
            (
                "sectors are ranked as one",
                faults.ranked(faults.one_sector),
            ),
            ("a window has a session too many", faults.longer_windows),
        )
    ),
    Fault(
        "a cohort counts who has no value",
        tampered("ds_rankings", "cohort_size_21d_sector_gross_return", lambda size: size + 1),
        RANKINGS,
        ("ranks_recounted",),
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what.replace(" ", "_"))
def test_a_wrong_step_fails_its_audit_and_cannot_be_published(fault: Fault, staged, monkeypatch):
    before = seen_by_readers(staged)
    bounds = AuditBounds(**{**AUDIT.model_dump(), "recomputed_cells": 12, **fault.bounds})
    run = execution.attach(settings_for(staged, audit=bounds), STAGED_RUN)
    fault.plant(monkeypatch)
    with pytest.raises(execution.AuditFailed) as failed:
        execution.stage_store(run, fault.store)
    assert {check.name for check in failed.value.checks} == set(fault.caught_by)
    for check in failed.value.checks:
        assert check.worst, f"{check.name} does not say which cells broke"
        assert check.name in str(failed.value)
    assert run.stage.directory in str(failed.value)
    recorded = run.stage.audit(fault.store)
    assert recorded is not None
    assert not recorded["passed"]
    with pytest.raises(NotAudited, match=f"{fault.store} failed its audit"):
        execution.publish(run)
    assert seen_by_readers(staged) == before


def test_the_staged_run_is_published_when_nothing_is_wrong(staged):
    run = execution.attach(settings_for(staged), STAGED_RUN)
    publication = execution.publish(run)
    assert publication is not None
    assert publication.complete_through == STAGED_TO


def test_every_check_has_a_fault_that_it_alone_catches(published_eve):
    alone = {name for fault in FAULTS if len(fault.caught_by) == 1 for name in fault.caught_by}
    every = {check.name for check in verify.verify(settings_for(published_eve))}
    assert alone == every - {"objects_are_whole"}, "faults of objects: tests/store/test_loss.py"


FLIPPED = [(1, "L1_market_HR"), (2, "L2_sector_HR"), (3, "L3_subsector_HR")]


@pytest.mark.parametrize(("level", "ratio"), FLIPPED)
def test_a_flipped_hedge_ratio_is_caught_when_the_return_is_not_replicated(level, ratio, staged, monkeypatch):
    run = execution.attach(settings_for(staged), STAGED_RUN)
    tampered("ds_erm3_hedge_weights", ratio, np.negative)(monkeypatch)
    execution.stage_store(run, HEDGE)
    with pytest.raises(execution.AuditFailed) as failed:
        execution.stage_store(run, RETURNS)
    assert {check.name for check in failed.value.checks} == {f"replication_L{level}", f"two_paths_L{level}"}


@pytest.mark.parametrize("changed", ["ds_etf", "ds_daily", "ds_masks", BETAS, HEDGE, RETURNS])
def test_a_staged_store_that_changes_after_its_audit_cannot_be_published(changed, staged):
    before = seen_by_readers(staged)
    run = execution.attach(settings_for(staged), STAGED_RUN)
    store = run.open(changed)
    name = store.spec.variables[0].name
    rows, cols = run.rows(store, run.last, run.last), slice(0, len(store.symbol))
    store.write(name, rows, cols, faults.another_value(store.read(name, rows, cols)))
    with pytest.raises(NotAudited, match=f"{changed} was changed after its audit"):
        execution.publish(run)
    assert seen_by_readers(staged) == before


def test_a_store_that_is_staged_again_asks_for_the_later_ones_again(staged, monkeypatch):
    """What was made from another version of an input must not be published beside the new one."""
    run = execution.attach(settings_for(staged), STAGED_RUN)
    tampered("ds_etf", "volume", lambda volume: volume + 1)(monkeypatch)
    execution.stage_store(run, "ds_etf")
    with pytest.raises(NotAudited, match="was made from another ds_etf than the one staged"):
        execution.publish(run)


def test_infinite_errors_are_recorded_as_text(staged, monkeypatch):
    run = execution.attach(settings_for(staged), STAGED_RUN)
    tampered("ds_daily", "return", in_one_cell(lambda r: -1.5))(monkeypatch)
    with pytest.raises(execution.AuditFailed):
        execution.stage_store(run, "ds_daily")
    recorded = run.stage.audit("ds_daily")
    assert recorded is not None
    assert [r["value"] for r in recorded["results"] if not r["passed"]] == ["inf"]
    json.dumps(recorded, allow_nan=False)


def test_an_infinite_value_is_refused_where_it_is_written(staged, monkeypatch: pytest.MonkeyPatch):
    run = execution.attach(settings_for(staged), STAGED_RUN)
    tampered("ds_erm3_betas", "beta_se", in_one_cell(lambda v: v * np.inf))(monkeypatch)
    with pytest.raises(Exception, match="infinite value"):
        execution.stage_store(run, BETAS)
