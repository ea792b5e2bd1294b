"""How often the rules about whole sessions, members and factor ETFs would have spoken on the history of a source."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.calendar import xnys
from pipeline.market_data.cleaning import clean_events
from pipeline.market_data.delivery import master_of
from pipeline.market_data.gate import delivery_faults
from pipeline.market_data.point_in_time import Facts, build_facts
from pipeline.quality.day_before import Stocks, against_the_day_before
from pipeline.quality.etf_rules import baskets, groups_of, lookback, off_their_market, rule_of, without_a_return
from pipeline.quality.findings import RULES, concat_findings
from pipeline.quality.session_rules import parted_from_the_stocks
from pipeline.returns.market_caps import market_caps
from pipeline.returns.panel import daily_panel
from pipeline.settings import DataRules
from pipeline.sources.tables import SourceTables
from security_master import MASTER_FILE, SecurityMaster
from security_master.universe import STOCK_TYPES


def false_alarms(tables: SourceTables, rules: DataRules) -> pd.DataFrame:
    """One row for each finding: date, rule, outcome, ticker ("" for the whole session), evidence.

    The rules that compare deliveries have nothing to compare here. Every session is judged as a night would judge it.
    """
    cleaned, calendar = clean_events(tables, rules.cleaning), xnys()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / MASTER_FILE
        master_of(path, cleaned, "false alarms")
        with SecurityMaster.open(path) as master:
            facts = build_facts(cleaned, master, calendar, rules)
            first, last = int(facts.prices["session"].min()), int(facts.prices["session"].max())
            faults = delivery_faults(facts, [(first, last)], rules.sessions)
            rows = [
                (int(row["session"]), row["rule"], "stop", "", row["evidence"]) for row in faults.to_dict("records")
            ]
            rows += _panels(facts, master, first, last, rules)
    frame = pd.DataFrame(rows, columns=["session", "rule", "outcome", "ticker", "evidence"])
    frame.insert(0, "date", calendar.sessions[frame.pop("session").to_numpy(int)])
    return frame.sort_values(["date", "rule", "ticker"], ignore_index=True)


Row = tuple[int, str, str, str, str]
"""Session, rule, outcome, ticker, evidence."""


def _panels(facts: Facts, master: SecurityMaster, first: int, last: int, rules: DataRules) -> list[Row]:
    """Members held against the session before, and factor ETFs that did not follow their stocks."""
    calendar, etfs = xnys(), master.factor_etfs()
    roster = master.roster()
    stocks = roster.loc[roster["sec_type"].isin(STOCK_TYPES), "sec_id"].to_numpy(object)
    known = [sec_id for sec_id in etfs.sec_ids if sec_id]
    row_of = {position: known.index(sec_id) for position, sec_id in enumerate(etfs.sec_ids) if sec_id}
    days = calendar.sessions[first : last + 1]
    instants = calendar.knowledge_instants(np.arange(first, last + 1), rules.vendor_delay_minutes)
    daily = daily_panel(facts, stocks, first, last, rules)
    etf = daily_panel(facts, known, first, last, rules)
    shares = master.shares_panel(list(stocks), days, instants, rules.shares_max_age_days)
    cap, _ = market_caps(daily.close, daily.volume, daily.flag, shares, rules)
    industry = master.classification_panel(list(stocks), days, instants)
    homes = [{code: row_of.get(at, -1) for code, at in home.items()} for home in (etfs.sector_of, etfs.subsector_of)]
    market, sectors = row_of[etfs.market], {row_of[at] for at in etfs.sector_of.values() if at in row_of}
    groups = groups_of(industry.astype(np.int64), homes, market)
    held = baskets(daily.ret, cap, groups, len(known))
    off = off_their_market(etf.ret, etf.close, held, market, sectors, lookback(rules.etfs), rules.etfs, set())
    ticker = {row: etfs.tickers[position] for position, row in row_of.items()}
    named = ((one, rule_of(one, market)) for one in off)
    rows = [(one.column + first, rule, RULES[rule].outcome, ticker[one.row], one.says) for one, rule in named]
    absent = without_a_return(etf.ret[market], etf.close[market], 1)
    rows += [(t + first, "market_etf_off", "stop", ticker[market], "no return") for t in absent]
    for one in off:
        etf.ret[one.row, one.column] = np.nan
    parted = parted_from_the_stocks(
        held.mean[market], held.names[market], etf.ret[market], 1, first + 1, rules.sessions
    )
    members = Stocks(daily.sec_ids, daily.close, cap, daily.ret, industry, daily.flag, shares)
    called = lambda ids: [str(name) for name in master.labels(np.array(ids, object), days[-1])[0]]  # noqa: E731
    overnight = against_the_day_before(members, first + 1, called, rules.day_before)
    of_sessions = concat_findings([parted, overnight[overnight["sec_id"] == ""]])
    return rows + [
        (int(r["session"]), r["rule"], r["outcome"], "", r["evidence"]) for r in of_sessions.to_dict("records")
    ]
