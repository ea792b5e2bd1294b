"""Asking a master: who was this ticker then, what did we know then, and why."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from security_master import dossier, labels, panels, resolution, snapshots
from security_master.dates import BEGINNING, END, date_text, dates_of, instants_of
from security_master.directory import TickerDirectory, UnknownSecurity
from security_master.factor_etfs import FactorEtfs, make_factor_etfs
from security_master.intervals import Holders, standing_beliefs
from security_master.names import company_of
from security_master.resolution import Mode
from security_master.snapshots import Universe
from security_master.store import instant_or_newest
from security_master.taxonomy import read_configurations

SHARES_MAX_AGE_DAYS = 400


class Class(NamedTuple):
    """A security's class under a scheme. code: `0` for an industry that is not known."""

    scheme: str
    scheme_version: str
    code: str
    name: str
    valid_from: str


class SecurityMaster(TickerDirectory):
    """A read-only master: the directory of tickers, and everything dated about a security, as frames and arrays.

    Dates and instants are those of TickerDirectory.
    """

    # -- for the pipeline -----------------------------------------------------------------------------------------

    def assign(
        self, vendor_codes: ArrayLike | pd.Categorical, dates: ArrayLike, *, ahead_days: int = 0
    ) -> NDArray[np.object_]:
        """sec_id of the holder of each vendor code (n,) on each date (n,), "" for none.

        A holder has its code from its first session to its last one, both included. ahead_days: where nobody holds the
        code, one who will within so many days counts (a successor or a spun-off child lists after the event).
        """
        return self._code_holders.find(_categories(vendor_codes), dates, ahead_days)

    def holders(
        self,
        vendor_codes: ArrayLike | pd.Categorical,
        dates: ArrayLike,
        *,
        assumed: NDArray[np.bool_] | None = None,
    ) -> tuple[pd.Categorical, NDArray[np.datetime64]]:
        """`assign` as a category of ids in order, missing for none, which costs little for millions of rows; and since
        when it is known that the holder has the code on that date: datetime64[us], UTC.

        assumed: for rows that a master takes itself (events, filings), whether it is assumed when each became known;
        they are asked for by the same rule (`facts.Owners`). Vendors file under today's code what happened before its
        change: where nobody has the code on a date, the next one who has it, else the last one who had it, counts if it
        was listed then under another code. Such a row is known when the code is; when that was assumed, when the
        security was, since the vendor has filed it under that day's code once.

        Where nobody has it, the instant means nothing.
        """
        codes = _categories(vendor_codes)
        sec_ids = np.append(self._standing_beliefs["sec_id"].to_numpy(object), "")
        known = np.append(instants_of(self._standing_beliefs["known_from"].str[:-1]), np.datetime64(0, "us"))
        span = self._code_holders.spans(codes, dates)
        since = known[span]
        nobody = np.flatnonzero(span < 0) if assumed is not None else np.empty(0, np.int64)
        if assumed is not None and len(nobody):
            days = np.asarray(dates, "datetime64[D]")[nobody]
            near = self._code_holders.nearest(codes[nobody], days)
            then = self._security_holders.spans(_categories(sec_ids[near]), days)
            there = then >= 0
            span[nobody[there]] = near[there]
            since[nobody[there]] = np.where(assumed[nobody], known[then], known[near])[there]
        owners = pd.Categorical(self._standing_beliefs["sec_id"].to_numpy(object))
        return owners.take(span, allow_fill=True), since

    def roster(self, known_as_of: Any = None) -> pd.DataFrame:
        """One row for each security, ordered by (first_session, sec_id).

        sec_id; sec_type, currency, exchange, vendor_code, name of its last listing; first_session and last_session
        (datetime64[s], NaT while unknown).
        """
        facts = self._store.believed("listing", known_as_of).sort_values(["sec_id", "valid_from"], kind="stable")
        first = facts.drop_duplicates("sec_id", keep="first")["valid_from"].tolist()
        roster = facts.drop_duplicates("sec_id", keep="last").assign(begin=first)
        roster = roster.sort_values(["begin", "sec_id"], ignore_index=True)
        ends = dates_of(["" if day == END else day for day in roster["valid_to"]]) - np.timedelta64(1, "D")
        starts = dates_of(["" if day == BEGINNING else day for day in roster["begin"]])
        text = ["sec_id", "sec_type", "currency", "exchange", "vendor_code", "name"]
        return (
            roster[text]
            .astype("str")
            .assign(first_session=starts.astype("datetime64[s]"), last_session=ends.astype("datetime64[s]"))
        )

    def listings(self) -> pd.DataFrame:
        """Every stretch of a listing that was ever believed, ordered by sec_id, known_from and valid_from.

        sec_id, vendor_code, sec_type, currency, exchange; valid_from, valid_to: datetime64[s]; known_from, known_to:
        datetime64[us]. Not to be changed: it is made once.
        """
        return self._store.made("listings", self._listings)

    def _listings(self) -> pd.DataFrame:
        facts = self._store.table("listing").sort_values(["sec_id", "known_from", "valid_from"], ignore_index=True)
        text = ["sec_id", "vendor_code", "sec_type", "currency", "exchange"]
        dates = {name: dates_of(facts[name]).astype("datetime64[s]") for name in ("valid_from", "valid_to")}
        instants = {name: instants_of(facts[name].str[:-1]) for name in ("known_from", "known_to")}
        return facts[text].astype("str").assign(**dates, **instants)

    def labels(
        self, sec_ids: ArrayLike, as_of: Any, known_as_of: Any = None
    ) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """(ticker, unique_ticker) of each security at a date; see labels.labels."""
        return labels.labels(self._store.believed("ticker_map", known_as_of), sec_ids, date_text(as_of))

    def issuers(self, sec_ids: ArrayLike, as_of: Any, known_as_of: Any = None) -> NDArray[np.object_]:
        """CIK of each security at a date, the last one it had by then; "" for none. Classes of one issuer share it."""
        day, facts = date_text(as_of), self._store.believed("xref", known_as_of)
        facts = facts[(facts["scheme"] == "cik") & (facts["valid_from"] <= day)].sort_values(
            "valid_from", kind="stable"
        )
        cik_of = dict(zip(facts["sec_id"], facts["value"], strict=True))
        return np.array([cik_of.get(str(s), "") for s in np.asarray(sec_ids, dtype=object)], dtype=object)

    def siblings(
        self, sec_ids: Sequence[str] | NDArray[np.object_], sessions: ArrayLike, instants: ArrayLike
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(P, 2) rows of two classes of one company, and (P,) the first of the T sessions that knew it, by instant.

        Of one company are those with one CIK, one name but for the class, or one ticker but for what follows its point.
        Sessions and instants as for classification_panel.
        """
        keys = self._store.made("company_keys", self._company_keys)
        return panels.pairs(keys, sec_ids, panels.grid(sessions, instants))

    def _company_keys(self) -> pd.DataFrame:
        """What says of which company a security is: sec_id, key, valid_from, known_from (text)."""
        ciks, names, tickers = (self._store.table(name) for name in ("xref", "listing", "ticker_map"))
        ciks = ciks[(ciks["scheme"] == "cik") & (ciks["value"] != "")]
        parts = [
            ciks.assign(key="cik " + ciks["value"]),
            names.assign(key=["name " + company_of(name) for name in names["name"]]),
            tickers.assign(key="ticker " + tickers["ticker"].str.partition(".")[0]),
        ]
        rows = pd.concat([part[["sec_id", "key", "valid_from", "known_from"]] for part in parts], ignore_index=True)
        return rows[rows["key"] != "name "]

    def classification_panel(
        self, sec_ids: Sequence[str], sessions: ArrayLike, instants: ArrayLike
    ) -> NDArray[np.int16]:
        """(n, T) int16 fs_industry_code of n securities in force at T sessions, 0 unclassified.

        sessions: (T,) dates, ascending. instants: (T,) UTC, never falling: what each session knows is what was known at
        its instant. Raises ValueError for others.

        >>> from security_master.example import example_master
        >>> master = example_master()
        >>> sessions = ["2012-05-17", "2012-05-18", "2022-06-09"]
        >>> instants = ["2012-05-17T21:00", "2012-05-18T21:00", "2022-06-09T21:00"]
        >>> master.classification_panel([master.resolve("FB", "2020-01-02")], sessions, instants)
        array([[   0, 5030, 5030]], dtype=int16)
        """
        facts = self._store.table("classification_hist")
        return panels.classification_panel(facts[facts["scheme"] == "fs"], sec_ids, panels.grid(sessions, instants))

    def shares_panel(
        self, sec_ids: Sequence[str], sessions: ArrayLike, instants: ArrayLike, max_age_days: int
    ) -> NDArray[np.float64]:
        """(n, T) shares outstanding of each class, in the share units of the session; NaN unknown or stale.

        Sessions and instants as for classification_panel. max_age_days: of a filing; see panels.shares_panel, which
        says which filing counts.

        >>> from security_master.example import example_master
        >>> master = example_master()
        >>> sessions = ["2022-04-28", "2022-04-29", "2022-06-13"]
        >>> instants = [f"{day}T21:00" for day in sessions]
        >>> master.shares_panel([master.resolve("FB", "2020-01-02")], sessions, instants, max_age_days=400)
        array([[    nan, 2.7e+09, 5.4e+09]])
        """
        actions = self._store.table("corp_action")
        splits = actions[actions["type"] == "split"]
        on = panels.grid(sessions, instants)
        first = on[0][0] if len(on[0]) else np.datetime64(END)
        since = date_text(first - np.timedelta64(max_age_days + 2, "D"))  # 2: dates of `filed_at` are in New York
        return panels.shares_panel(self._filings(since), splits, sec_ids, on, max_age_days)

    def _filings(self, since: str) -> panels.Filings:
        """The filings since a date or an earlier one, and those before it that hide one of them: of a later period.

        The last ones that were read stay, since the sessions that are asked for ascend.
        """
        held: dict[str, panels.Filings] = self._store.made("filings", dict)
        for begins, filings in list(held.items()):
            if begins <= since:
                return filings
        filings = panels.filings_of(
            self._store.columns(
                "shares_hist",
                *panels.FILING_COLUMNS,
                where="JOIN (SELECT sec_id AS filer, min(period_end) AS period FROM shares_hist WHERE filed_at >= ? "
                "GROUP BY sec_id) ON filer = sec_id WHERE filed_at >= ? OR period_end > period ORDER BY row_id",
                values=(since, since),
            )
        )
        held.clear()
        held[since] = filings
        return filings

    def factor_etfs(self, known_as_of: Any = None) -> FactorEtfs:
        """The factor ETFs of the taxonomy in force, with the security of type etf that holds each ticker.

        Of several ETFs that have had a ticker in turn, the first one that had it when or after the table says that the
        factor ETF began: a later reuse of the ticker changes nothing.
        """
        version, taxonomy, etfs = read_configurations(self._store.db)[-1]
        listings = self._store.believed("listing", known_as_of)
        is_etf = set(listings.loc[listings["sec_type"] == "etf", "sec_id"])
        spans = self._store.believed("ticker_map", known_as_of)
        spans = spans[spans["sec_id"].isin(is_etf)].sort_values(["valid_from", "sec_id"], kind="stable")
        starts = dict(zip(etfs["etf"], etfs["first_session"], strict=True))
        sec_ids: dict[str, str] = {}
        for ticker, sec_id, end in zip(spans["ticker"], spans["sec_id"], spans["valid_to"], strict=True):
            if end > starts.get(ticker, ""):
                sec_ids.setdefault(ticker, sec_id)
        return make_factor_etfs(taxonomy, etfs, sec_ids, version)

    def taxonomy(self) -> pd.DataFrame:
        """The taxonomy in force, in its own order.

        fs_industry_code and fs_sector_code (int64), industry, sector, sector_etf, subsector_etf (str, "" for none).
        """
        frame = read_configurations(self._store.db)[-1][1]
        return frame.astype("str").astype({"fs_industry_code": np.int64, "fs_sector_code": np.int64})

    # -- who ------------------------------------------------------------------------------------------------------

    def resolve_many(self, queries: pd.DataFrame, *, known_as_of: Any = None, mode: Mode = "regular") -> pd.DataFrame:
        """`queries` (columns ticker and date) with sec_id ("" for none) and status: ok, none, ambiguous or unknown."""
        known = instant_or_newest(known_as_of)
        tickers, dates = queries["ticker"].tolist(), queries["date"].to_numpy()
        answers = resolution.resolve_many(self._store, tickers, dates, known, mode)
        answer = pd.DataFrame(answers, columns=["sec_id", "status"], dtype=object)
        return queries.assign(sec_id=answer["sec_id"].to_numpy(), status=answer["status"].to_numpy())

    def history(self, sec_id: str, *, as_of: Any = None, known_as_of: Any = None) -> pd.DataFrame:
        """Everything dated about a security, by (what, valid_from): tickers, listings, identifiers, classes, end.

        Columns (text) what, value, detail, valid_from, valid_to, known_from, source, evidence. as_of: nothing that
        began later. Raises UnknownSecurity.

        >>> from security_master.example import example_master
        >>> master = example_master()
        >>> rows = master.history(master.resolve("FB", "2020-01-02"))
        >>> print(rows.loc[rows["what"] == "ticker", ["value", "valid_from", "valid_to"]].to_string(index=False))
        value valid_from   valid_to
           FB 2012-05-18 2022-06-09
         META 2022-06-09 9999-12-31
        """
        self._require(sec_id)
        return dossier.history(self._store, sec_id, as_of, known_as_of)

    def lineage(self, sec_id: str, *, as_of: Any = None, known_as_of: Any = None) -> pd.DataFrame:
        """Edges to and from a security: event, date, from_sec_id, to_sec_id, ratio, cash, known_from, evidence.

        as_of: no event after that date. Raises UnknownSecurity.
        """
        self._require(sec_id)
        return dossier.lineage(self._store, sec_id, as_of, known_as_of)

    # -- what -----------------------------------------------------------------------------------------------------

    def shares(
        self, sec_id: str, as_of: Any, *, known_as_of: Any = None, max_age_days: int = SHARES_MAX_AGE_DAYS
    ) -> float | None:
        """Shares outstanding of a class on a date, by the rule of panels.shares_panel; None unknown or stale."""
        self._require(sec_id)
        day = np.array([date_text(as_of)], dtype="datetime64[D]")
        known = instants_of([instant_or_newest(known_as_of)[:-1]])
        count = float(self.shares_panel([sec_id], day, known, max_age_days)[0, 0])
        return None if np.isnan(count) else count

    def classify(self, sec_id: str, as_of: Any, *, scheme: str = "fs", known_as_of: Any = None) -> Class | None:
        """The class of a security on a date under a scheme (`fs`: 4-digit industry, `gics`: sub-industry), or None."""
        self._require(sec_id)
        day, rows = date_text(as_of), self._store.of_security("classification_hist", sec_id, known_as_of)
        rows = rows[(rows["scheme"] == scheme) & (rows["valid_from"] <= day) & (rows["valid_to"] > day)]
        if rows.empty:
            return None
        row = rows.iloc[0]
        name = self._industry_names.get(row["code"], "unclassified") if scheme == "fs" else row["code"]
        return Class(scheme, row["scheme_version"], row["code"], name, row["valid_from"])

    def etfs(
        self, sec_id: str, as_of: Any, *, calendar: ArrayLike, min_obs: int, known_as_of: Any = None
    ) -> tuple[str, str]:
        """Tickers of the sector and the subsector ETF in force for a security at a session, "" for none."""
        found = self.classify(sec_id, as_of, known_as_of=known_as_of)
        registry = self.factor_etfs(known_as_of)
        codes = np.array([[int(found.code) if found else 0]], dtype=np.int16)
        session = np.array([date_text(as_of)], dtype="datetime64[D]")
        positions = [
            int(at(codes, session, calendar=calendar, min_obs=min_obs)[0, 0])
            for at in (registry.sector_positions, registry.subsector_positions)
        ]
        sector, subsector = (registry.tickers[at] if at >= 0 else "" for at in positions)
        return sector, subsector

    def universe(
        self, name: str, as_of: Any, *, known_as_of: Any = None, rule_version: str | None = None
    ) -> Universe | None:
        """The members in force on a date: those of the last month end before the month of `as_of`. None before any."""
        month = np.datetime64(date_text(as_of), "M")
        known = self.snapshots(name, known_as_of, rule_version, since=as_of)[:1]
        return known[0] if known and known[0].mask_as_of.astype("datetime64[M]") < month else None

    def snapshots(
        self, name: str, known_as_of: Any = None, rule_version: str | None = None, *, since: Any = None
    ) -> list[Universe]:
        """The recorded snapshots of a universe known by an instant, by date. rule_version: today's rule if None.

        since: only those in force from that date on, which begin with the one of the last month end before its month.
        """
        return snapshots.recorded(self._store, name, known_as_of, rule_version, since)

    def snapshot_days(self, name: str) -> list[np.datetime64]:
        """The dates of the snapshots that are recorded under today's rule of a universe."""
        return snapshots.recorded_days(self._store, name)

    # -- why ------------------------------------------------------------------------------------------------------

    def explain(self, ticker: str, as_of: Any, *, known_as_of: Any = None) -> pd.DataFrame:
        """Every row that decides who had a ticker on a date: claims, listings, how the id was given, open questions.

        Columns step, sec_id, value, valid_from, valid_to, known_from, source, evidence, batch_id. No row: nobody.
        """
        return dossier.explain(self._store, ticker, as_of, known_as_of)

    def changes(self, known_from: Any, known_to: Any) -> pd.DataFrame:
        """What was learnt or withdrawn in [known_from, known_to), by instant.

        Columns at, change, table, sec_id, fact (json), batch_id.
        """
        return dossier.changes(self._store, known_from, known_to)

    def queue(self, *, known_as_of: Any = None) -> pd.DataFrame:
        """Questions open at an instant: question_id, kind, subject, candidates, detail, known_from."""
        return dossier.queue(self._store, known_as_of)

    # -- helpers --------------------------------------------------------------------------------------------------

    def _require(self, sec_id: str) -> None:
        if not self._store.rows("SELECT 1 FROM security WHERE sec_id = :sec_id", sec_id=sec_id):
            raise UnknownSecurity(f"no security {sec_id!r} in {self._store.path}; `resolve` gives ids from tickers")

    @cached_property
    def _code_holders(self) -> Holders:
        return Holders.of_codes(self._standing_beliefs)

    @cached_property
    def _security_holders(self) -> Holders:
        """When each security was listed, under whatever code."""
        return Holders.of_codes(self._standing_beliefs.assign(vendor_code=self._standing_beliefs["sec_id"]))

    @cached_property
    def _standing_beliefs(self) -> pd.DataFrame:
        return standing_beliefs(self._store.table("listing"))

    @cached_property
    def _industry_names(self) -> dict[str, str]:
        taxonomy = read_configurations(self._store.db)[-1][1]
        return dict(zip(taxonomy["fs_industry_code"], taxonomy["industry"], strict=True))


def _categories(names: ArrayLike | pd.Categorical) -> pd.Categorical:
    return names if isinstance(names, pd.Categorical) else pd.Categorical(np.asarray(names, dtype=object))
