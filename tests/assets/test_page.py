"""A walk through Dagster's pages in a real browser, as a person of the data team would do it.

apt-get install chromium chromium-driver
pytest -m browser tests/assets/test_page.py            # screenshots are left in the test's directory
"""

from __future__ import annotations

import time

import dagster as dg
import pytest

from assets.definitions import build_definitions
from assets.deployment import Deployment
from assets.partitions import range_tags
from pipeline.calendar import xnys
from pipeline.read import history, read_manifest
from tests.assets.browser import Browser
from tests.assets.served import Server
from tests.engine import faults
from tests.engine.conftest import EVE, NIGHT
from tests.engine.published_market import FACTOR_SET

BACKFILL = [str(day) for day in xnys().between(NIGHT, "2019-12-31")[:40]]
GROUPS = ("market_data", FACTOR_SET, "publication", "reports")
SHOWN_IN_A_GROUP = {
    "market_data": ("source_tables", "ds_daily", "ds_masks"),
    FACTOR_SET: ("ds_erm3_betas", "ds_erm3_hedge_weights", "ds_erm3_returns"),
}
HEDGE, BETAS = f"{FACTOR_SET}/ds_erm3_hedge_weights", f"{FACTOR_SET}/ds_erm3_betas"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", autouse=True)
def failed_night(server) -> None:
    """One night has failed."""
    fail_a_night(server)


def fail_a_night(server: Server) -> None:
    """A nightly run with the fault of a lost cross term, recorded on the server's instance."""
    with pytest.MonkeyPatch.context() as planted:
        planted.setenv("DAGSTER_HOME", str(server.home))
        faults.no_cross_term(planted)
        definitions = build_definitions(server.settings, Deployment())
        with dg.DagsterInstance.get() as instance:
            done = definitions.resolve_job_def("nightly").execute_in_process(
                instance=instance, tags=range_tags(NIGHT, NIGHT), raise_on_error=False
            )
    assert not done.success


def test_the_lineage_page_shows_the_way_from_the_source_to_the_publication(server, page):
    page.open(f"{server.address}/asset-groups")
    for group in GROUPS:
        page.wait_for(group)
    page.picture("lineage")
    page.resize(3000, 1600)
    for group, names in SHOWN_IN_A_GROUP.items():
        page.open(f"{server.address}/asset-groups?expanded=global%40global%3A{group}")
        for asset in names:
            page.wait_for(asset)
        page.picture(f"lineage_of_{group}")
    page.resize()


def test_the_page_of_a_failed_check_says_by_how_much_and_where(server, page):
    page.open(f"{server.address}/assets/{HEDGE}?view=checks&checkDetail=net_market_beta")
    page.wait_for("Latest execution")
    for said in ("Failed", "market beta left by the L3 hedge", "worst value", "bound", "worst cells"):
        page.wait_for(said)
    page.wait_for(NIGHT)
    page.picture("failed_check")


def test_the_page_of_the_failed_run_says_what_now(server, page):
    (failed,) = server.runs()
    page.open(f"{server.address}/runs/{failed['runId']}")
    page.wait_for("net_market_beta")
    page.wait_for("nothing is published")
    page.picture("failed_run")
    assert read_manifest(server.root)["complete_through"] == EVE


def test_a_backfill_of_forty_sessions_from_the_page_ends_as_one_run(server, page):
    page.open(f"{server.address}/asset-groups")
    page.click("//button[contains(., 'Materialize all')]")
    page.click("//*[normalize-space(text())='Show all partitions']")
    page.write("//input[starts-with(@placeholder, 'ex: ')]", f"[{BACKFILL[0]}...{BACKFILL[-1]}]")
    page.click("//*[normalize-space(text())='Partition selection']")  # leaves the field, which then is read
    page.wait_for("40 partitions")
    page.picture("backfill")
    page.click("//button[normalize-space(.)='Launch backfill']")
    page.wait_for("Created backfill")
    while len(server.runs()) < 2:
        time.sleep(1)
    run = server.runs()[0]
    status = server.wait_for_the_end(run["runId"])
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert status == "SUCCESS"
    assert tags["dagster/backfill"]
    assert len([r for r in server.runs() if "dagster/backfill" in {t["key"] for t in r["tags"]}]) == 1
    assert (tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]) == (
        BACKFILL[0],
        BACKFILL[-1],
    )
    assert read_manifest(server.root)["complete_through"] == BACKFILL[-1]
    assert len(history(server.root)) == 2
    page.open(f"{server.address}/runs/{run['runId']}")
    page.wait_for("RUN_SUCCESS")
    page.picture("backfill_run")


def test_the_page_of_a_materialisation_shows_figures_tables_and_plots(server, page):
    page.resize(height=2600)
    page.open(f"{server.address}/assets/{BETAS}?view=partitions&partition={BACKFILL[-1]}")
    for said in ("coverage of subsector", "share of NaN by variable", "worst errors", "betas_recomputed", "made from"):
        page.wait_for(said)
    page.picture("materialisation")
    for title in ("coverage over the last year", "betas by level at the last session"):
        look_at_plot(page, title)


def look_at_plot(page: Browser, title: str) -> None:
    page.click(f"//tr[contains(., '{title}')]//*[normalize-space(text())='[Show Markdown]']")
    picture = f"//img[@alt='{title}']"
    page.find(picture)
    width = "return document.evaluate(arguments[0], document, null, 9, null).singleNodeValue.naturalWidth"
    assert page.script(width, picture) > 300, "the picture is there and was drawn"
    page.picture(title.replace(" ", "_"))
    page.click("//button[normalize-space(.)='Close']")


REPORTS = {
    "security_coverage": ("securities by year", ("known, last year", "missing_share", "survivors_bias")),
    "quality": (
        "calendar of quarantined cells",
        ("counts by rule", "the 20 worst", "erm3 quality report --root", "new findings"),
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_the_page_of_a_report_shows_its_table_and_its_plot(server, page, name):
    title, shown = REPORTS[name]
    page.resize(height=1600)
    page.open(f"{server.address}/assets/{name}?view=partitions&partition={BACKFILL[-1]}")
    for said in shown:
        page.wait_for(said)
    page.picture(name)
    look_at_plot(page, title)


def test_the_page_of_the_inputs_says_what_was_delivered(server, page):
    page.resize(height=1600)
    page.open(f"{server.address}/assets/source_tables?view=partitions&partition={BACKFILL[-1]}")
    for said in ("rows read", "bytes landed", "security master build", "open questions of identity"):
        page.wait_for(said)
    page.picture("inputs")


def test_the_page_of_the_publication_says_what_readers_see(server, page):
    page.resize(height=1600)
    page.open(f"{server.address}/assets/publication?view=partitions&partition={BACKFILL[-1]}")
    for said in ("complete through", "through, before", "bytes staged", "code version", "guards and switch"):
        page.wait_for(said)
    page.picture("publication")


def test_the_page_of_an_asset_shows_units_owners_and_how_to_open_it(server, page):
    page.resize()
    page.open(f"{server.address}/assets/ds_daily")
    for said in ("open_dataset", "Closing price as traded [USD].", "erm3", "market_data", "float32 (teo, symbol)"):
        page.wait_for(said)
    page.picture("asset")


def test_the_page_of_a_factor_sets_asset_shows_the_name_that_its_store_has_everywhere_else(server, page):
    page.open(f"{server.address}/assets/{BETAS}?view=overview")
    page.wait_for(f"ds_erm3_betas_{FACTOR_SET}: ")
    page.wait_for(f"store: ds_erm3_betas_{FACTOR_SET}")
    page.picture("asset_of_a_factor_set")
