"""Where tables come from: the vendors, how they are asked, and the simulated market."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.settings.units import Group, Minutes, Securities, Share, Unit

VENDORS: dict[str, int] = {
    "eodhd": 990,
    "edgar": 990,
    "nasdaq": 990,
    "tiingo": 990,
}
"""The vendors that are fetched, each a folder of `pipeline/vendors/`: minutes after a close by which it has delivered.

16.5 hours: events come until 04:00 in New York on the next day, and after a half day (close 13:00) that is 15 hours.
"""
TABLE_SOURCES = ("simulated", "files")


class SimulatedMarket(Group):
    """Size and seed of the embedded market. A larger horizon leaves the earlier sessions as they were."""

    seed: int = Field(20060103, description="of the random numbers: another market")
    stocks: Securities = Field(300, ge=4, description="stocks alive on the first session")
    first_session: str = Field("2018-01-02", description="where the market begins, as YYYY-MM-DD")
    last_session: str = Field("2023-12-29", description="where the market ends, as YYYY-MM-DD")


class Fetching(Group):
    """How vendors are asked, and when a delivery is whole (docs/vendors.md). Keys are no settings: ERM3_EODHD_TOKEN,
    ERM3_TIINGO_TOKEN."""

    contact: str | None = Field(
        None, description="who asks, for the User-Agent: `Company contact@example.com`. The SEC wants it"
    )
    urls: dict[str, str] = Field(
        default_factory=dict, description="by vendor, another base URL than its own (the fake vendor's)"
    )
    units: Annotated[dict[str, int], Unit("units of a day")] = Field(
        default_factory=dict, description="by vendor, what may be spent, where it is other than the paid plan's"
    )
    names: tuple[str, ...] = Field(
        (), description="codes to which a backfill is limited; all common stocks and the factor ETFs if empty"
    )
    coverage: Share = Field(
        0.95, description="smallest part of the names priced the session before that a whole delivery prices"
    )
    deadline_minutes: Minutes = Field(180.0, ge=0, description="how long a night waits for a delivery")
    poll_minutes: Minutes = Field(10.0, gt=0, description="how often it asks meanwhile")
    timeout_seconds: Annotated[float, Unit("seconds")] = Field(
        60.0, gt=0, description="silence of a vendor after which a request counts as failed"
    )
    alert: tuple[str, ...] = Field(
        (), description="command that is run when a night fails, with the message as its last argument"
    )
    wins: dict[str, tuple[str, ...]] = Field(
        {"shares": ("edgar", "eodhd"), "securities": ("nasdaq",)},
        description="by table, which vendor's rows count where several have the same security's, best first; the "
        "order of `sources` where a table is not named",
    )
