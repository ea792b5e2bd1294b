"""The source's rows under permanent ids: security, session ordinal and the first session that may use each row.

`build_facts` joins every table to the security master by vendor code *and date*, turns dates into ordinals, and turns
`known_from` into `visible`, so that time safety is one integer comparison from here on. Two rows with one key and
different `visible` are a correction: the later one replaces the earlier from its `visible` on.

A row is known when both it and its owner are: `visible` is never before the first session that knew who has the
vendor code on the row's date. A bar of a listing that became known late is a late bar; a successor
that is not known yet is a company that nobody covers, and a spin-off counts once its child is known.

What does not fit (a bar on a closed day, a row that belongs to no security, or whose owner is not known yet) is listed
in `findings`; nothing is repaired here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.calendar import FOR_EVER, NO_SESSION, Calendar
from pipeline.market_data.cleaning import CleanTables
from pipeline.market_data.joining import Clock, Join, Joined, KnowsIdentities
from pipeline.market_data.needed_bars import needed_bars
from pipeline.quality.bars import Bars
from pipeline.quality.event_rules import event_findings, missing_share_counts, off_record_findings
from pipeline.quality.findings import concat_findings, findings_frame, no_findings
from pipeline.settings import DataRules
from security_master.listings import WITHDRAWN


@dataclass(frozen=True, eq=False)
class Facts:
    """Dated facts keyed by `sec_id`. `session`, `ex`, `first`, `last`, `visible`, `detected_at` are int32 ordinals.

    prices:     sec_id (category, sorted) session open high low close volume total_return_close visible;
                sorted by sec_id, session, visible
    splits:     sec_id ex ratio_new ratio_old kind visible; kind `split`, or `spin_off`: in the return, never in the
                share count
    dividends:  sec_id ex amount currency kind basis quoted visible; quoted: currency of the security's price then
    spin_offs:  sec_id ex child child_sec_id child_ratio value visible; child: its id, or its code where it has none
    delistings: sec_id last reason cash successor_code successor_sec_id successor_ratio exchange resumes visible;
                successor_sec_id: "" for none that is known; `exchange`: where it was listed; `resumes`: session from
                which the same security trades again, or a large number
    fx_rates:   currency session usd_rate (USD for one unit) visible
    securities: sec_id sec_type first last (NO_SESSION: none), as known now
    findings:   what was left out or read differently, see `pipeline.quality.findings`
    """

    prices: pd.DataFrame
    splits: pd.DataFrame
    dividends: pd.DataFrame
    spin_offs: pd.DataFrame
    delistings: pd.DataFrame
    fx_rates: pd.DataFrame
    securities: pd.DataFrame
    findings: pd.DataFrame
    restated_as_of: np.datetime64 | None = None


def build_facts(
    tables: CleanTables,
    master: KnowsIdentities,
    calendar: Calendar,
    rules: DataRules,
    restated_as_of: np.datetime64 | None = None,
    sessions: tuple[int, int] | None = None,
) -> Facts:
    """Rows of `tables` under permanent ids.

    `restated_as_of` (UTC instant): rows known by then count as visible from the start, which is what a declared
    restatement uses; later rows keep their own `visible`. `sessions`: [first, last] (ordinals) of what is computed,
    None for any: of the bars before those of `tables.prices` there are then those that it needs, and only findings that
    are made in these sessions are all there.
    """
    clock = Clock(calendar, rules.vendor_delay_minutes, restated_as_of)
    codes = tables.securities.groupby("vendor_code")["known_from"].min()
    join = Join(master, clock, codes, rules.cleaning.unowned_gap)
    prices = _bars(join, needed_bars(tables, master.listings(), clock, sessions))
    splits = _events(join, "splits", tables.splits)
    dividends = _events(join, "dividends", tables.dividends)
    spin_offs = _events(join, "spin_offs", tables.spin_offs)
    delistings = _delistings(join, tables.delistings, prices.rows, rules.max_gap)
    shares = join.rows("shares", tables.shares, "period_end")
    facts = Facts(
        prices=prices.rows,
        splits=_latest_of_each_key(splits.rows, ["sec_id", "ex", "kind"], ["ratio_new", "ratio_old"]),
        dividends=_dividends(join, dividends.rows),
        spin_offs=_spin_offs(join, spin_offs.rows),
        delistings=delistings.rows,
        fx_rates=_fx_rates(clock, tables.fx_rates),
        securities=_securities(master, calendar),
        findings=no_findings(),
        restated_as_of=restated_as_of,
    )
    joined = (prices, splits, dividends, spin_offs, delistings, shares)
    found = [frame for one in joined for frame in one.findings]
    found.append(_identified_findings(join, tables.findings))
    found.append(missing_share_counts(facts.prices, facts.securities, shares.rows, rules.events))
    found += off_record_findings(facts.prices, splits.rows, dividends.rows, rules.events)
    found += event_findings(facts.prices, facts.splits, facts.dividends, facts.spin_offs, rules.events)
    return replace(facts, findings=concat_findings(found))


def _bars(join: Join, prices: pd.DataFrame) -> Joined:
    joined = join.rows("prices", prices, "date")
    rows, left_out = _sessions_of_bars(joined.rows, join.clock.calendar)
    return Joined(_sorted_bars(rows), joined.findings + left_out)


def _events(join: Join, name: str, events: pd.DataFrame) -> Joined:
    """Events with `ex`, the ordinal of their ex-date: a closed day rolls forward and is flagged, one outside of the
    calendar is dropped."""
    calendar = join.clock.calendar
    frame, findings = join.rows(name, events, "ex_date")
    dates = frame["ex_date"].to_numpy("datetime64[D]")
    inside = (dates >= calendar.sessions[0]) & (dates <= calendar.sessions[-1])
    frame, dates = frame[inside].copy(), dates[inside]
    frame["ex"] = calendar.on_or_after(dates)
    closed = ~calendar.is_session(dates)
    if not closed.any():
        return Joined(frame, findings)
    moved = frame[closed]
    flagged = findings_frame(
        sec_id=moved["sec_id"],
        session=moved["ex"],
        rule="event_on_closed_day",
        observed=np.nan,
        expected=np.nan,
        evidence=[f"{name}: ex-date {d} is no session, used on the next one" for d in dates[closed]],
        detected_at=np.maximum(moved["ex"], moved["visible"]),
    )
    return Joined(frame, [*findings, flagged])


def _dividends(join: Join, events: pd.DataFrame) -> pd.DataFrame:
    quoted = join.clock.attributes(join.master, events, "ex")["currency"].to_numpy()
    values = ["amount", "currency", "basis", "quoted"]
    return _latest_of_each_key(events.assign(quoted=quoted), ["sec_id", "ex", "kind"], values, many=True)


def _spin_offs(join: Join, events: pd.DataFrame) -> pd.DataFrame:
    """Several children may be spun off on one day; one child under two codes is one. A row counts once the code of its
    child is known, as in the security master."""
    named = join.clock.visible(join.listed_since(events["child_code"]))
    events = events.assign(visible=np.maximum(events["visible"].to_numpy(), named))
    codes, days = events["child_code"], events["ex_date"]
    ids, _ = join.owners(codes, days)
    child = np.where(ids != "", ids, codes.to_numpy(object))
    known = join.known_owners(codes, days, np.maximum(events["ex"].to_numpy(), events["visible"].to_numpy()))
    rows = events.assign(child=pd.array(child, dtype="str"), child_sec_id=known)
    return _latest_of_each_key(rows, ["sec_id", "ex", "child"], ["child_sec_id", "child_ratio", "value"])


def _delistings(join: Join, delistings: pd.DataFrame, bars: pd.DataFrame, max_gap: int) -> Joined:
    rows, findings = join.rows("delistings", delistings, "last_session")
    rows["last"] = join.clock.calendar.on_or_before(rows["last_session"].to_numpy("datetime64[D]"))
    rows["exchange"] = join.clock.attributes(join.master, rows, "last")["exchange"].to_numpy()
    rows["successor_sec_id"] = _successors(join, rows)
    values = ["reason", "cash", "successor_code", "successor_sec_id", "successor_ratio", "exchange"]
    rows = _latest_of_each_key(rows, ["sec_id", "last"], values)
    rows.insert(len(rows.columns) - 1, "resumes", resumptions(rows, bars, max_gap))
    return Joined(rows, findings)


def _successors(join: Join, delistings: pd.DataFrame) -> NDArray[np.object_]:
    """Who the successor is on the last session, or, if it lists only then, on the session of the delisting return."""
    sessions, codes = join.clock.calendar.sessions, delistings["successor_code"]
    booking = np.maximum(delistings["last"].to_numpy() + 1, delistings["visible"].to_numpy())
    found = join.known_owners(codes, delistings["last_session"], booking)
    days = sessions[np.minimum(booking, len(sessions) - 1)]
    return np.where(found != "", found, join.known_owners(codes, pd.Series(days), booking))


def _fx_rates(clock: Clock, rates: pd.DataFrame) -> pd.DataFrame:
    """Rates of sessions, which belong to no security."""
    dates = rates["date"].to_numpy("datetime64[D]")
    rows = rates.assign(session=clock.calendar.on_or_after(dates), visible=clock.visible(rates["known_from"]))
    rows = rows[clock.calendar.is_session(dates)]
    return _latest_of_each_key(rows, ["currency", "session"], ["usd_rate"])


def _sessions_of_bars(prices: pd.DataFrame, calendar: Calendar) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Bars with their ordinal; those on a closed day, or known before their session closed, are left out."""
    dates = prices["date"].to_numpy("datetime64[D]")
    prices["session"] = calendar.on_or_after(dates)
    closed_day = ~calendar.is_session(dates)
    session = np.minimum(prices["session"].to_numpy(), len(calendar.closes) - 1)
    early = ~closed_day & (prices["known_from"].to_numpy("datetime64[us]") < calendar.closes[session])
    left_out = []
    for rule, bad, says in (
        ("bar_on_closed_day", closed_day, "bar dated {}, on which the exchange was closed"),
        ("bar_before_close", early, "bar of {} was known before that session closed"),
    ):
        if bad.any():
            rows = prices[bad]
            left_out.append(
                findings_frame(
                    sec_id=rows["sec_id"].astype("str"),
                    session=rows["session"],
                    rule=rule,
                    observed=rows["close"],
                    expected=np.nan,
                    evidence=[says.format(day) for day in dates[bad]],
                    detected_at=np.maximum(rows["session"], rows["visible"]),
                )
            )
    return prices[~(closed_day | early)] if left_out else prices, left_out


def _identified_findings(join: Join, rows: pd.DataFrame) -> pd.DataFrame:
    """Findings of the event cleaning, which are keyed by vendor code and date, under the ids known by then."""
    if rows.empty:
        return no_findings()
    session = join.clock.calendar.on_or_after(rows["ex_date"].to_numpy("datetime64[D]"))
    known = np.maximum(rows["known_from"].to_numpy("datetime64[us]"), join.listed_since(rows["vendor_code"]))
    detected = np.maximum(session, join.clock.visible(known))
    return findings_frame(
        sec_id=join.known_owners(rows["vendor_code"], rows["ex_date"], detected),
        session=session,
        rule=rows["rule"].to_numpy(),
        observed=rows["observed"].to_numpy(),
        expected=rows["expected"].to_numpy(),
        evidence=rows["evidence"].to_numpy(),
        detected_at=detected,
        index=range(len(rows)),
    )


def _latest_of_each_key(frame: pd.DataFrame, key: list[str], values: list[str], many: bool = False) -> pd.DataFrame:
    """Sorted by key and `visible`; of rows that become visible together, the one that was known last.

    `many`: a key may hold several rows at once (two dividends of one kind on one day); then all rows of the last
    instant stay. The order of the input rows has no influence: ties are broken by the values.
    """
    frame = frame.sort_values([*key, "visible", "known_from", *values], kind="stable", ignore_index=True)
    moment = frame.groupby([*key, "visible"], sort=False, observed=True)
    if many:
        kept = frame["known_from"].to_numpy() == moment["known_from"].transform("max").to_numpy()
    else:
        kept = ~frame.duplicated([*key, "visible"], keep="last").to_numpy()
    return frame.loc[kept, [*key, *values, "visible"]].reset_index(drop=True)


def _sorted_bars(prices: pd.DataFrame) -> pd.DataFrame:
    """`_latest_of_each_key` for millions of bars: one integer sort, and the slow way only for bars that meet."""
    values = ["open", "high", "low", "close", "volume", "total_return_close"]
    security = prices["sec_id"].cat.codes.to_numpy(np.int64)
    moment = (security << 40) | (prices["session"].to_numpy(np.int64) << 20) | prices["visible"].to_numpy(np.int64)
    order = np.argsort(moment, kind="stable")
    moment = moment[order]
    prices = prices.iloc[order] if (order[1:] < order[:-1]).any() else prices
    meets = np.zeros(len(prices), bool)
    same = moment[1:] == moment[:-1]
    meets[1:] |= same
    meets[:-1] |= same
    if meets.any():
        settled = _latest_of_each_key(prices[meets], ["sec_id", "session"], values)
        keep = ~meets
        keep[np.flatnonzero(meets)[np.r_[True, np.diff(moment[meets]) != 0]]] = True
        slots = meets[keep]
        prices = prices[keep].copy()
        for column in values:
            prices.loc[slots, column] = settled[column].to_numpy()
    return prices[["sec_id", "session", *values, "visible"]].reset_index(drop=True)


def _securities(master: KnowsIdentities, calendar: Calendar) -> pd.DataFrame:
    roster = master.roster()
    last = roster["last_session"].to_numpy("datetime64[D]")
    frame = roster[["sec_id", "sec_type"]].copy()
    frame["first"] = calendar.on_or_after(roster["first_session"].to_numpy("datetime64[D]"))
    frame["last"] = np.where(np.isnat(last), NO_SESSION, calendar.on_or_before(last)).astype(np.int32)
    return frame


def resumptions(delistings: pd.DataFrame, prices: pd.DataFrame, max_gap: int) -> NDArray[np.int32]:
    """For each row of `delistings` the session from which the security trades again; FOR_EVER where it does not.

    It is that of a bar with volume after a silence of more than `max_gap` sessions since the last one; shorter than
    that, bars are a stale tail. A row that was withdrawn only after its return was booked ends when no return can span
    both ends any more.
    """
    resumes, bars = np.full(len(delistings), FOR_EVER), Bars(prices)
    for k, row in enumerate(delistings.to_dict("records")):
        mine = bars.of(row["sec_id"])
        if not len(mine.session) or mine.session[-1] <= row["last"]:
            continue
        later = (mine.session > row["last"]) & (mine.visible <= mine.session)
        session, volume = mine.session[later], mine.volume[later]
        silence = np.diff(session, prepend=row["last"])
        found = np.flatnonzero((silence > max_gap) & ~(volume <= 0))
        if len(found):
            resumes[k] = session[found[0]]
    for row in delistings[delistings["reason"] == WITHDRAWN].to_dict("records"):
        same = ((delistings["sec_id"] == row["sec_id"]) & (delistings["last"] == row["last"])).to_numpy()
        resumes[same] = np.minimum(resumes[same], max(row["visible"], row["last"] + max_gap + 1))
    return resumes


def first_listed(
    listings: pd.DataFrame,
    calendar: Calendar,
    delay_minutes: int,
    types: Collection[str],
    restated_as_of: np.datetime64 | None = None,
) -> pd.Series:
    """By sec_id the ordinal of the first session that knew the security as listed with one of `types`; ascending, then
    by sec_id. A run of any session adds securities in this order, so that a night and a backfill agree.

    `restated_as_of` as in `build_facts`: of a listing known by then only the first session matters.
    """
    clock, rows = Clock(calendar, delay_minutes, restated_as_of), listings[listings["sec_type"].isin(types)]
    begun = np.maximum(calendar.on_or_after(rows["valid_from"].to_numpy()), clock.visible(rows["known_from"]))
    known = begun < clock.visible(rows["known_to"])
    first = pd.Series(begun[known], index=rows["sec_id"].to_numpy()[known]).groupby(level=0).min()
    return first.iloc[np.lexsort((first.index.to_numpy(dtype=str), first.to_numpy()))]
