"""One frozen settings object: `ERM3_*` environment variables, then `erm3.toml`, then the defaults below.

Nested fields use a double underscore: `ERM3_MODEL__ESTIMATOR=ols`, `ERM3_RULES__OUTLIERS__JUMP=0.6`; `none` means None.
Every number that changes a published one is in `ModelParameters` or `DataRules` and is written into the attributes of
the stores that it made (`parameter_attributes`). What is no parameter and stays where it is used:

* the universes (`security_master.universe.RULES`, the 60 sessions of their trading rule): they are what the names
  `uni_mc_*` mean; another rule is another `version`, and snapshots of the old one stay;
* ids and who is who (`security_master`): a published id never changes, whatever the settings say;
* the 15 minutes after its close from which on a bar without `known_from` is known: the form of a delivery;
* settlement, holidays, 1.4826, rounding guards of the kernels: facts and numerics, not choices;
* sizes of blocks and tiles: no number depends on them (tested).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

VENDORS: dict[str, int] = {
    "eodhd": 990,
    "edgar": 990,
}
"""The vendors that are fetched, each a folder of `pipeline/vendors/`: minutes after a close by which it has delivered.

16.5 hours: events come until 04:00 in New York on the next day, and after a half day (close 13:00) that is 15 hours.
"""
TABLE_SOURCES = ("simulated", "files")

UNIVERSES = ("uni_mc_50", "uni_mc_500", "uni_mc_1000", "uni_mc_3000")


Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Factor = Annotated[float, Field(gt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def _none_in_words(value: object) -> object:
    return None if isinstance(value, str) and value.lower() == "none" else value


PositiveOrNone = Annotated[Positive | None, BeforeValidator(_none_in_words)]
"""The environment, TOML and the attributes of a store have no None: there it is the word `none`."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ModelParameters(_Frozen):
    """Parameters of docs/methodology.md, under the names that the stores' attributes carry."""

    estimator: Literal["huber", "ols", "ridge"] = "huber"
    window: int = Field(252, ge=2)
    min_obs: int = Field(126, ge=2)
    half_life: PositiveOrNone = 126.0
    huber_epsilon: float = Field(1.35, gt=1)
    huber_scale_floor: float = Field(1e-2, gt=0)
    ridge_alpha: float = Field(0.0, ge=0)
    min_peers: int = Field(5, ge=1)
    lstar_threshold: float = 0.01

    @model_validator(mode="after")
    def _min_obs_fits(self) -> ModelParameters:
        if self.min_obs > self.window:
            raise ValueError(f"min_obs ({self.min_obs}) is larger than window ({self.window})")
        return self


class CleaningRules(_Frozen):
    """How a delivery is read before anybody uses it.

    duplicate_days: equal splits, or equal dividends, with ex-dates at most so far apart are one event delivered twice;
                    exactly so far apart they are a weekly payer's two, if it paid as long before the first one as well
    small_term:     a split's ratio in lowest terms has one term up to this (3:2, 5:4, 7:2, 1:20), ...
    stock_dividends: ... or it is one of these; any other ratio above one is a spin-off's price factor
    odd_reverse, odd_spin_off: a ratio below one is a reverse split of up to 1:`odd_reverse` on the day of a spin-off
                    with a price factor up to `odd_spin_off`
    paid_twice:     a dividend on the day of a spin-off is the same one once more when it is worth as much, within this
                    factor
    share_jump:     factor between consecutive filings from which on a share count is not believed alone ...
    share_agrees:   ... until a second filing says the same within this factor
    share_split:    smaller splits cannot be told from an issue of shares
    unit_of_count:  factor between two sessions' counts from which on a split that the close has not followed is taken
                    for their reason
    full_trading, usual_sessions: a bar after a delisting contradicts it when its volume is at least this share of the
                    median of so many bars before (after a removal any volume does) ...
    same_company:   ... and its close is no further from the last one, in logs (after a removal any close does)
    unowned_gap:    sessions without rows after which rows that belong to no security are reported again
    """

    duplicate_days: Count = 7
    small_term: Count = 5
    stock_dividends: tuple[Factor, ...] = (1.05, 1.1)
    odd_reverse: Count = 10
    odd_spin_off: Factor = 1.6
    paid_twice: Factor = 1.5
    share_jump: Factor = 20.0
    share_agrees: Factor = 2.0
    share_split: Factor = 1.5
    unit_of_count: Factor = 1.1
    full_trading: Share = 0.05
    usual_sessions: int = Field(20, ge=1)
    same_company: Positive = 0.5
    unowned_gap: Count = 10


class BarRules(_Frozen):
    """Bounds of the rules about single bars.

    sentinel:       closes from here on are no prices (vendors write 1e6 for "none"), unless a close of the
                    `sentinel_sessions` before was above `sentinel_if_below`
    ohlc_tolerance: relative
    stale_sessions: the repetition of a close without volume, or with the same one, from which on it is no price
    """

    sentinel: Positive = 1e6
    sentinel_if_below: Positive = 5e5
    sentinel_sessions: Count = 60
    ohlc_tolerance: Share = 1e-6
    stale_sessions: int = Field(5, ge=1)


class EventRules(_Frozen):
    """Bounds of the rules about single events.

    ratio:        largest split either way
    yield_jump:   factor by which a regular dividend's yield may leave the range of the last `yields`
    basis:        difference of the return between the two bases from which on somebody should look
    due_bill:     share of the price from which on a payout goes ex after it is paid, whatever its record date
    fx_max_age:   sessions that an exchange rate may be old on an ex-date
    shares_after: sessions after the first price by which a share count should be known
    """

    ratio: Factor = 1000.0
    yield_jump: Factor = 5.0
    yields: int = Field(4, ge=1)
    basis: Positive = 0.0025
    due_bill: Share = 0.25
    fx_max_age: Count = 5
    shares_after: Count = 126


class SessionRules(_Frozen):
    """Bounds for one session over all securities; sessions with fewer than `names` securities are not judged.

    coverage:        smallest share of the names with a price the session before that must have one
    traded:          smallest share of the names with a volume the session before that must have one
    stale:           largest share of names whose close and volume both repeat the session before
    broken_factor, broken_share: largest share of names whose close breaks by more than the factor without an event
    unchanged:       largest share of names whose close is exactly the one before
    as_one, as_one_move: largest median move, in spreads of the moves around it (1.4826 times their median distance),
                     where the median itself moves by more than the second bound, in logs
    shifted_bars, shifted_sessions: bars on closed days within so many sessions that make the dates of a code shifted
    zero_returns:    largest share of returns that are exactly zero
    median_move:     largest median of |return|
    splits, dividends: largest share of names with one on one ex-date
    market_correlation, month_sessions: smallest correlation of the market ETF with the cap-weighted stocks in a month
                     of at least so many sessions
    """

    names: Count = 20
    coverage: Share = 0.7
    traded: Share = 0.5
    stale: Share = 0.5
    broken_factor: Factor = 8.0
    broken_share: Share = 0.05
    unchanged: Share = 0.3
    as_one: Positive = 6.0
    as_one_move: Positive = 0.05
    shifted_bars: int = Field(3, ge=1)
    shifted_sessions: Count = 25
    zero_returns: Share = 0.3
    median_move: Share = 0.06
    splits: Share = 0.03
    dividends: Share = 0.15
    market_correlation: float = Field(0.9, ge=-1, le=1)
    month_sessions: int = Field(15, ge=2)


class DayBeforeRules(_Frozen):
    """Bounds for the members of a session (the largest stocks with a price the session before), against that session.

    members, names: so many are members; with fewer than the second number nothing is judged
    few:            so many may always change
    missing, classes, counts: largest share, by number or by market cap, without a price, with another class, with
                    another count of shares
    count_factor:   from which on a count is another one, splits aside
    """

    members: int = Field(3000, ge=1)
    names: Count = 20
    few: Count = 3
    missing: Share = 0.05
    classes: Share = 0.1
    counts: Share = 0.1
    count_factor: Factor = 1.5


class EtfRules(_Frozen):
    """Bounds for factor ETFs, which are held against their stocks and against each other (simple returns).

    sessions, least: how far a pair strays is known from so many sessions, and from no fewer than the second number
    names:           fewest stocks, or other ETFs, that an ETF is held against
    sigmas:          usual distances from which on an ETF is off its market, where it is off by the floor as well
    floor, market_floor: of an ETF, and of the market ETF, against its stocks
    family_sessions, family_whole, family_floor: the market ETF is held against the ETFs that have this share of the
                     returns of so many sessions
    """

    sessions: int = Field(60, ge=1)
    least: int = Field(40, ge=1)
    names: int = Field(5, ge=1)
    sigmas: Positive = 6.0
    floor: Share = 0.01
    market_floor: Share = 0.003
    family_sessions: int = Field(120, ge=2)
    family_whole: Share = 0.9
    family_floor: Share = 0.005


class DriftRules(_Frozen):
    """sessions: how far back deliveries are compared; share: of the bars, from which on nothing is published."""

    sessions: Count = 30
    share: Share = 0.001


class DeliveryRules(_Frozen):
    """What a delivery may lack of what the last one had; more stops the run until somebody accepts it.

    shrunk, few:     share of a table's rows or securities that may be missing, or so many where that is more
    lost_securities: share of the known securities that it may not mention any more, without those that the last
                     accepted delivery did not mention either
    """

    shrunk: Share = 0.05
    few: Count = 10
    lost_securities: Share = 0.01


class OutlierRules(_Frozen):
    """Bounds of the return rules, in log units where not said otherwise.

    scale_sessions, scale_minimum, calm_sessions: the scale of a return is 1.4826 times the median size of the returns
                         of the last `scale_sessions`, or of the last `calm_sessions` if that is larger; unknown with
                         fewer than `scale_minimum`
    jump, sigmas:        a move is outlying beyond max(jump, sigmas * scale)
    split_jump:          a fall beyond it may be a missing split, where the volume says so
    event_jump, event_sigmas: the same on a session with a material split; the second also for a missing split
    material, material_sigmas: an event matters to these rules when it moves the price by more than the larger one
    followed:            share of an event's effect by which the price must move to have followed it
    near_sigmas:         scales that a move may be away from what an event explains
    impossible:          price factor in one step that no stock makes: the bar is a bad print at once
    outside_range:       a close this factor outside its own [low, high], and away from the last close, is a bad print
    reversal, reversal_sessions: how near, and how soon, the price must come back for an outlying move to be a bad print
    customary_splits:    ratios above one by which stocks split, and the other way round
    split_tolerance:     distance to a customary ratio that makes an outlying move look like a missing split;
                         `split_sigmas` scales, at most `split_widest`, where the volume is known
    halving:             ratio up to which a genuine move is as likely as a split that is missing (a factor)
    volume_sessions:     the usual volume is the median of so many sessions
    within_session:      share of a move that the bar's own range must cover to show that it was traded
    stray:               a high or low this factor beyond both closes of a move is no evidence that it was traded
    ticks, tick:         a move of up to so many of the smallest steps between the closes before is no missing split; no
                         step is below `tick` dollars (Regulation NMS, rule 612)
    traded_volume:       times the usual volume at which a move that the bar's range covers was traded, and stays when
                         the price comes back
    reverse, reverse_volume: a rise by the first factor looks like a reverse split of any ratio, unless the volume is
                         more than the second factor above the usual
    misdated:            sessions by which an event may be misdated
    due_bill, due_bill_sessions: an event with at least this effect that the price did not follow waits so many sessions
                         for a move of its size (payouts above a quarter go ex after they are paid)
    small, gain:         a split by more than `small` that is not material is doubted when the squares of two moves
                         shrink by more than `gain` squared scales with the split on the other of the two sessions
    disagreement:        difference to the return from the vendor's back-adjusted closes that is worth a look (simple)
    level_sessions:      bars in a row at an impossible level after which it is the level
    """

    scale_sessions: int = Field(60, ge=1)
    scale_minimum: int = Field(20, ge=1)
    calm_sessions: int = Field(10, ge=1)
    jump: Positive = 0.5
    split_jump: Positive = 0.3
    sigmas: Positive = 12.0
    event_jump: Positive = 0.4
    event_sigmas: Positive = 8.0
    material: Positive = 0.1
    material_sigmas: Positive = 5.0
    followed: Share = 0.65
    near_sigmas: Positive = 3.0
    impossible: Factor = 50.0
    outside_range: Factor = 1.2
    reversal: Positive = 0.05
    reversal_sessions: Count = 10
    customary_splits: tuple[Factor, ...] = Field(
        (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0), min_length=1
    )
    split_tolerance: Positive = 0.02
    split_sigmas: Positive = 3.0
    split_widest: Positive = 0.15
    halving: Factor = 2.5
    volume_sessions: int = Field(20, ge=1)
    within_session: Share = 0.3
    stray: Factor = 1.5
    ticks: Count = 3
    tick: Positive = 1e-4
    traded_volume: Factor = 3.0
    reverse: Factor = 4.0
    reverse_volume: Positive = 2.0
    misdated: Count = 2
    due_bill: Positive = 0.25
    due_bill_sessions: Count = 12
    small: Positive = 0.02
    gain: Positive = 10.0
    disagreement: Positive = 0.05
    level_sessions: int = Field(3, ge=1)

    def window(self, max_gap: int) -> int:
        """Sessions before the judged one that can matter to it."""
        return max(self.reversal_sessions + max_gap + 1, self.volume_sessions)


class DelistingRules(_Frozen):
    """What a delisting is worth without evidence, and how old evidence may be.

    imputed, imputed_nasdaq: return of a performance delisting on NYSE and AMEX (Shumway 1997), and on Nasdaq (Shumway
                       and Warther 1999)
    successor_max_age: sessions that the successor's close may be older than the last session
    cash_short:        cash of a merger that lies further below the last close is only a part of what was paid, where
                       no ratio is given
    """

    imputed: float = Field(-0.30, ge=-1)
    imputed_nasdaq: float = Field(-0.55, ge=-1)
    successor_max_age: Count = 5
    cash_short: Share = 0.2


class DataRules(_Frozen):
    """Rules of the data, of the returns and of the universe."""

    max_gap: int = Field(10, ge=1, description="sessions without a close that a return may span")
    vendor_delay_minutes: Count = Field(15, description="knowledge instant of a session: its close plus this")
    shares_max_age_days: int = Field(400, ge=1)
    validity_sessions: int = Field(5, ge=1, description="a stock is valid when it traded within so many sessions")
    listed_sessions: int = Field(60, ge=1, description="sessions that a stock without a price still counts as listed")
    cleaning: CleaningRules = CleaningRules()
    bars: BarRules = BarRules()
    events: EventRules = EventRules()
    sessions: SessionRules = SessionRules()
    day_before: DayBeforeRules = DayBeforeRules()
    etfs: EtfRules = EtfRules()
    drift: DriftRules = DriftRules()
    deliveries: DeliveryRules = DeliveryRules()
    outliers: OutlierRules = OutlierRules()
    delistings: DelistingRules = DelistingRules()


class AuditBounds(_Frozen):
    """Bounds of the checks that stop a publication (docs/methodology.md, section 10)."""

    replication: float = 1e-3
    additivity: float = 1e-3
    net_market_beta: float = 1e-5
    coverage_drop: float = Field(0.05, description="largest fall of a coverage share against the previous session")
    coverage_floor: float = Field(0.0, description="smallest share of universe members with L1 values")
    recomputed_cells: int = Field(24, ge=0, description="cells recomputed from raw returns by a slow second writer")


class SimulatedMarket(_Frozen):
    """Size and seed of the embedded market. A larger horizon leaves the earlier sessions as they were."""

    seed: int = 20060103
    stocks: int = Field(300, ge=4, description="stocks alive on the first session")
    first_session: str = "2018-01-02"
    last_session: str = "2023-12-29"


class Fetching(_Frozen):
    """How vendors are asked, and when a delivery is whole (docs/vendors.md). Keys are no settings: ERM3_EODHD_TOKEN.

    contact:          who asks, for the User-Agent: `Company contact@example.com`. The SEC wants it.
    urls:             by vendor, another base URL than its own (the fake vendor's)
    units:            by vendor, units of a day where they are other than the paid plan's
    names:            codes to which a backfill is limited; all common stocks and the factor ETFs by default
    coverage:         smallest share of the names priced the session before that a whole delivery prices
    deadline_minutes: how long after its start a night waits for a delivery
    poll_minutes:     how often it asks meanwhile
    alert:            command that is run when a night fails, with the message as its last argument
    wins:             by table, which vendor's rows count where several have the same security's, best first; the order
                      of `sources` where a table is not named
    """

    contact: str | None = None
    urls: dict[str, str] = Field(default_factory=dict)
    units: dict[str, int] = Field(default_factory=dict)
    names: tuple[str, ...] = ()
    coverage: Share = 0.95
    deadline_minutes: float = Field(180.0, ge=0)
    poll_minutes: Positive = 10.0
    alert: tuple[str, ...] = ()
    wins: dict[str, tuple[str, ...]] = {"shares": ("edgar", "eodhd")}


class Settings(BaseSettings):
    """What a run needs to know. Frozen; no field is read from the clock."""

    model_config = SettingsConfigDict(
        env_prefix="ERM3_",
        env_nested_delimiter="__",
        toml_file="erm3.toml",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # what stands under an unknown name may be a secret
    )

    root: str = "data/erm3"
    source: str = "simulated"
    sources: tuple[str, ...] = Field((), description="layers of vendors, the one with the prices first")
    source_path: str | None = None
    raw: str | None = Field(None, description="the landing zone of vendors' answers; `raw` under the root by default")
    fetching: Fetching = Fetching()
    factor_sets: tuple[str, ...] = ("SPY_uni_mc_3000",)
    model: ModelParameters = ModelParameters()
    rules: DataRules = DataRules()
    audit: AuditBounds = AuditBounds()
    simulated: SimulatedMarket = SimulatedMarket()
    threads: int = Field(2, ge=1)
    dask_address: str | None = None

    @field_validator("factor_sets")
    @classmethod
    def _known_factor_sets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            FactorSet.parse(name)
        if not value or len({name.split("_", 1)[0] for name in value}) != 1:
            raise ValueError(f"factor sets need one common market ETF: {value}")
        return value

    @model_validator(mode="after")
    def _sources_are_known(self) -> Settings:
        known = (*TABLE_SOURCES, *VENDORS)
        for name in self.layers:
            if name not in known:
                raise ValueError(f"source {name!r} is not known; expected one of {', '.join(known)}")
            if name in TABLE_SOURCES and len(self.layers) > 1:
                raise ValueError(f"source {name!r} stands alone; layers are of {', '.join(VENDORS)}")
        if self.source == "files" and not self.source_path:
            raise ValueError("source 'files' needs source_path: the directory with the tables")
        return self

    @model_validator(mode="after")
    def _delay_covers_the_delivery(self) -> Settings:
        """Who did not choose a delay gets the one by which the vendors have delivered."""
        delays = [VENDORS[name] for name in self.layers if name in VENDORS]
        if delays and "vendor_delay_minutes" not in self.rules.model_fields_set:
            rules = self.rules.model_copy(update={"vendor_delay_minutes": max(delays)})
            object.__setattr__(self, "rules", rules)
        return self

    @property
    def layers(self) -> tuple[str, ...]:
        """The sources, the one with the prices first."""
        return self.sources or (self.source,)

    @property
    def fetched(self) -> bool:
        """Whether the tables come from vendors that are fetched."""
        return all(name in VENDORS for name in self.layers)

    @property
    def raw_root(self) -> str:
        return self.raw or f"{self.root.rstrip('/')}/raw"

    @property
    def market(self) -> str:
        return self.factor_sets[0].split("_", 1)[0]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


class FactorSet(_Frozen):
    """A market ETF and a universe: `{market}_{universe}` names the stores made for it."""

    market: str
    universe: str

    @property
    def id(self) -> str:
        return f"{self.market}_{self.universe}"

    @classmethod
    def parse(cls, name: str) -> FactorSet:
        market, _, universe = name.partition("_")
        if not market or universe not in UNIVERSES:
            raise ValueError(f"factor set {name!r} is not MARKET_UNIVERSE with a universe of {', '.join(UNIVERSES)}")
        return cls(market=market, universe=universe)


def parameter_attributes(model: ModelParameters, rules: DataRules) -> dict[str, Any]:
    """Root attributes that say what the numbers are made with: every model parameter and data rule by its name.

    A rule of a group has the name of its group before its own (`outliers_jump`); None is the word `none`.
    """
    return dict(_flat(model.model_dump())) | dict(_flat(rules.model_dump()))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}_")
        else:
            yield prefix + name, "none" if value is None else list(value) if isinstance(value, tuple) else value
