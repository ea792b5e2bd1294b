"""Asking a master: who was this ticker then, what did we know then, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from security_master import labels, lineage, panels, resolution, schema
from security_master.dates import BEGINNING, END, NEVER, date_text, dates_of, instant_text, instants_of
from security_master.derive import FACT_TABLES
from security_master.errors import ExplainedError
from security_master.factor_etfs import FactorEtfs, make_factor_etfs
from security_master.intervals import Holders
from security_master.names import canonical_ticker
from security_master.resolution import Mode
from security_master.store import BELIEVED, Store, instant_or_newest
from security_master.taxonomy import read_configurations
from security_master.universe import RULES

SHARES_MAX_AGE_DAYS = 400


class UnknownSecurity(ExplainedError, LookupError):
    """A sec_id that the master does not hold."""


class Universe(NamedTuple):
    """The members in force and the month end at which they were chosen."""

    mask_as_of: np.datetime64
    members: NDArray[np.object_]


class Class(NamedTuple):
    """A security's class under a scheme. code: `0` for an industry that is not known."""

    scheme: str
    scheme_version: str
    code: str
    name: str
    valid_from: str


class SecurityMaster:
    """A read-only master.

    Answers are about a date (`as_of`, always stated) as far as known at an instant (`known_as_of`, an aware datetime,
    ISO text with a zone or a numpy datetime in UTC; None: all that the master knows).
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(cls, path: Path | str) -> SecurityMaster:
        """Open a master. Raises MasterNotFound, SchemaVersionError."""
        return cls(Store(Path(path)))

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> SecurityMaster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def build_id(self) -> str:
        """Hash of what this master says; the stores keep it."""
        return self._store.meta("build_id")

    # -- for the pipeline -----------------------------------------------------------------------------------------

    def assign(
        self, vendor_codes: ArrayLike | pd.Categorical, dates: ArrayLike, *, ahead_days: int = 0
    ) -> NDArray[np.object_]:
        """sec_id of the holder of each vendor code (n,) on each date (n,), "" for none.

        A holder has its code from its first session to its last one, both included. ahead_days: where nobody holds the
        code, one who will within so many days counts (a successor or a spun-off child lists after the event).
        """
        codes = vendor_codes
        if not isinstance(codes, pd.Categorical):
            codes = pd.Categorical(np.asarray(codes, dtype=object))
        return self._code_holders.find(codes, dates, ahead_days)

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

        sec_id, sec_type, currency, exchange; valid_from, valid_to: datetime64[s]; known_from, known_to: datetime64[us].
        """
        facts = self._store.table("listing").sort_values(["sec_id", "known_from", "valid_from"], ignore_index=True)
        text = ["sec_id", "sec_type", "currency", "exchange"]
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

    def classification_panel(
        self, sec_ids: Sequence[str], sessions: ArrayLike, instants: ArrayLike
    ) -> NDArray[np.int16]:
        """(n, T) int16 fs_industry_code in force, 0 unclassified; see panels.classification_panel."""
        facts = self._store.table("classification_hist")
        return panels.classification_panel(facts[facts["scheme"] == "fs"], sec_ids, panels.grid(sessions, instants))

    def shares_panel(
        self, sec_ids: Sequence[str], sessions: ArrayLike, instants: ArrayLike, max_age_days: int
    ) -> NDArray[np.float64]:
        """(n, T) shares outstanding, NaN unknown or stale; see panels.shares_panel."""
        actions = self._store.table("corp_action")
        splits = actions[actions["type"] == "split"]
        on = panels.grid(sessions, instants)
        return panels.shares_panel(self._store.table("shares_hist"), splits, sec_ids, on, max_age_days)

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

    def resolve(
        self,
        ticker: str,
        as_of: Any,
        *,
        known_as_of: Any = None,
        exchange: str | None = None,
        mode: Mode = "regular",
    ) -> str | None:
        """The security that had a ticker (in any spelling: BRK.B, BRK-B, brk/b) on a date, None when nobody had it.

        mode 'any' includes over-the-counter and when-issued lines. Raises AmbiguousTicker with the candidates, and
        UnknownTicker with the nearest spellings when nobody is known ever to have had it.
        """
        return resolution.resolve(self._store, ticker, as_of, known_as_of, exchange, mode)

    def resolve_many(self, queries: pd.DataFrame, *, known_as_of: Any = None, mode: Mode = "regular") -> pd.DataFrame:
        """`queries` (columns ticker and date) with sec_id ("" for none) and status: ok, none, ambiguous or unknown."""
        known = instant_or_newest(known_as_of)
        tickers, dates = queries["ticker"].tolist(), queries["date"].to_numpy()
        answer = resolution.resolve_many(self._store, tickers, dates, known, mode)
        return queries.assign(sec_id=answer["sec_id"].to_numpy(), status=answer["status"].to_numpy())

    def history(self, sec_id: str, *, as_of: Any = None, known_as_of: Any = None) -> pd.DataFrame:
        """Everything dated about a security, by (what, valid_from): tickers, listings, identifiers, classes, end.

        Columns what, value, detail, valid_from, valid_to, known_from, source, evidence. as_of: nothing that began
        later. Raises UnknownSecurity.
        """
        self._require(sec_id)
        parts = []
        for what, table, value, detail in (
            ("ticker", "ticker_map", "ticker", "market"),
            ("listing", "listing", "vendor_code", "exchange"),
            ("name", "listing", "name", "sec_type"),
            ("identifier", "xref", "value", "scheme"),
            ("class", "classification_hist", "code", "scheme"),
        ):
            rows = self._of(table, sec_id, known_as_of)
            rows = rows.assign(what=what, value=rows[value], detail=rows[detail])
            parts.append(rows[HISTORY_COLUMNS])
        ends = self._of("delisting", sec_id, known_as_of)
        parts.append(
            ends.assign(
                what="delisting",
                value=ends["reason"],
                detail=ends["successor_code"],
                valid_from=ends["last_session"],
                valid_to=END,
            )[HISTORY_COLUMNS]
        )
        rows = pd.concat([part for part in parts if len(part)], ignore_index=True)
        if as_of is not None:
            rows = rows[rows["valid_from"] <= date_text(as_of)]
        order = {what: at for at, what in enumerate(("ticker", "listing", "name", "identifier", "class", "delisting"))}
        rows = rows.assign(order=rows["what"].map(order)).sort_values(["order", "valid_from", "value"], kind="stable")
        return rows[HISTORY_COLUMNS].astype("str").reset_index(drop=True)

    def lineage(self, sec_id: str, *, as_of: Any = None, known_as_of: Any = None) -> pd.DataFrame:
        """Edges to and from a security: event, date, from_sec_id, to_sec_id, ratio, cash, known_from, evidence.

        as_of: no event after that date. Raises UnknownSecurity.
        """
        self._require(sec_id)
        edges = lineage.lineage(
            self._store.believed("listing", known_as_of),
            self._store.believed("delisting", known_as_of),
            self._store.believed("corp_action", known_as_of),
            self._decided_claims(instant_or_newest(known_as_of)),
        )
        edges = edges[(edges["from_sec_id"] == sec_id) | (edges["to_sec_id"] == sec_id)]
        if as_of is not None:
            edges = edges[edges["date"] <= date_text(as_of)]
        return edges.reset_index(drop=True)

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
        day, rows = date_text(as_of), self._of("classification_hist", sec_id, known_as_of)
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
        recorded = "universe = :name AND rule_version = :version AND known_from <= :known"
        rows = self._store.rows(
            "SELECT s.mask_as_of, m.sec_id FROM "
            f"(SELECT * FROM universe_snapshot WHERE {recorded} AND mask_as_of >= coalesce("
            f"(SELECT max(mask_as_of) FROM universe_snapshot WHERE {recorded} AND mask_as_of < :month), '')) s "
            "LEFT JOIN universe_membership m ON m.universe = s.universe AND m.mask_as_of = s.mask_as_of "
            "AND m.rule_version = s.rule_version AND m.status <> 'out' ORDER BY s.mask_as_of, m.sec_id",
            name=name,
            version=rule_version if rule_version is not None else RULES[name].version,
            known=instant_or_newest(known_as_of),
            month="" if since is None else f"{date_text(since)[:7]}-01",
        )
        members: dict[str, list[str]] = {}
        for day, sec_id in rows:
            members.setdefault(day, []).extend([sec_id] if sec_id else [])
        return [Universe(np.datetime64(day, "D"), np.array(ids, dtype=object)) for day, ids in members.items()]

    def snapshot_days(self, name: str) -> list[np.datetime64]:
        """The dates of the snapshots that are recorded under today's rule of a universe."""
        query = "SELECT mask_as_of FROM universe_snapshot WHERE universe = :name AND rule_version = :version ORDER BY 1"
        return [np.datetime64(day, "D") for (day,) in self._store.rows(query, name=name, version=RULES[name].version)]

    def universe_counts(self, name: str, as_of: Any, valid: ArrayLike, *, known_as_of: Any = None) -> dict[str, int]:
        """Members in force, and how many of them are valid that day. valid: sec_ids with a valid price."""
        universe = self.universe(name, as_of, known_as_of=known_as_of)
        members = set(universe.members) if universe else set()
        active = len(members & set(np.asarray(valid, dtype=object).tolist()))
        return {"active": active, "in_universe_mask": len(members), "inactive_from_validity": len(members) - active}

    # -- why ------------------------------------------------------------------------------------------------------

    def explain(self, ticker: str, as_of: Any, *, known_as_of: Any = None) -> pd.DataFrame:
        """Every row that decides who had a ticker on a date: claims, listings, how the id was given, open questions.

        Columns step, sec_id, value, valid_from, valid_to, known_from, source, evidence, batch_id. No row: nobody.
        """
        name, day, known = canonical_ticker(ticker), date_text(as_of), instant_or_newest(known_as_of)
        at = {"day": day, "known": known}
        steps: list[tuple[Any, ...]] = self._store.rows(
            "SELECT 'ticker', sec_id, ticker || ' (' || market || ', ' || trading_mode || ')', valid_from, valid_to, "
            "known_from, source, evidence, batch_id FROM ticker_map WHERE ticker = :ticker AND valid_from <= :day "
            f"AND :day < valid_to AND {BELIEVED} ORDER BY sec_id",
            ticker=name,
            **at,
        )
        for sec_id in sorted({row[1] for row in steps}):
            steps += self._store.rows(
                "SELECT 'listing', sec_id, vendor_code || ' on ' || exchange || ', ' || name, valid_from, valid_to, "
                "known_from, source, evidence, batch_id FROM listing WHERE sec_id = :sec_id AND valid_from <= :day "
                f"AND :day < valid_to AND {BELIEVED}",
                sec_id=sec_id,
                **at,
            )
            steps += self._store.rows(
                "SELECT 'identity', sec_id, anchor_type || ' ' || anchor_value || ': ' || rule, anchor_from, '', "
                "known_from, 'id_registry', '', batch_id FROM id_registry WHERE sec_id = :sec_id "
                "AND known_from <= :known ORDER BY known_from, anchor_type, anchor_value",
                sec_id=sec_id,
                known=known,
            )
        for contest in resolution.contests(self._store, known):
            if contest.ticker == name and contest.start <= day < contest.end:
                steps += [("contest", s, name, contest.start, contest.end, "", "", "", "") for s in contest.candidates]
        return pd.DataFrame(steps, columns=EXPLAIN_COLUMNS)

    def changes(self, known_from: Any, known_to: Any) -> pd.DataFrame:
        """What was learnt or withdrawn in [known_from, known_to), by instant.

        Columns at, change, table, sec_id, fact (json), batch_id.
        """
        window = {"since": instant_text(known_from), "until": instant_text(known_to)}
        parts = []
        for table in FACT_TABLES:
            frame = self._store.table(table)
            for change, column in (("learnt", "known_from"), ("withdrawn", "known_to")):
                moment = frame[column]
                rows = frame[(moment >= window["since"]) & (moment < window["until"]) & (moment < NEVER)]
                if rows.empty:
                    continue
                told = rows[[c for c in rows.columns if c not in ("sec_id", *TAIL_COLUMNS)]]
                facts = [json.dumps({k: v for k, v in row.items() if v == v}) for row in told.to_dict("records")]
                parts.append(
                    pd.DataFrame(
                        {
                            "at": rows[column],
                            "change": change,
                            "table": table,
                            "sec_id": rows["sec_id"],
                            "fact": facts,
                            "batch_id": rows["batch_id"],
                        }
                    )
                )
        if not parts:
            return pd.DataFrame(columns=["at", "change", "table", "sec_id", "fact", "batch_id"])
        return pd.concat(parts).sort_values(["at", "change", "table", "sec_id", "fact"], ignore_index=True)

    def queue(self, *, known_as_of: Any = None) -> pd.DataFrame:
        """Questions open at an instant: question_id, kind, subject, candidates, detail, known_from."""
        rows = self._store.rows(
            f"SELECT question_id, kind, subject, candidates, detail, known_from FROM resolution_queue WHERE {BELIEVED} "
            "ORDER BY known_from, question_id",
            known=instant_or_newest(known_as_of),
        )
        return pd.DataFrame(rows, columns=["question_id", "kind", "subject", "candidates", "detail", "known_from"])

    # -- helpers --------------------------------------------------------------------------------------------------

    def _of(self, table: str, sec_id: str, known_as_of: Any) -> pd.DataFrame:
        """Believed rows of one security."""
        known = instant_or_newest(known_as_of)
        where = "WHERE sec_id = ? AND known_from <= ? AND ? < known_to"
        return schema.read_frame(self._store.db, table, None, where, sec_id, known, known)

    def _require(self, sec_id: str) -> None:
        if not self._store.rows("SELECT 1 FROM security WHERE sec_id = :sec_id", sec_id=sec_id):
            raise UnknownSecurity(f"no security {sec_id!r} in {self._store.path}; `resolve` gives ids from tickers")

    def _decided_claims(self, known: str) -> pd.DataFrame:
        """Decisions that two ids are one claim, as edges of the lineage."""
        rows = self._store.rows(
            "SELECT q.subject, q.candidates, d.known_from, d.decided_by FROM decision d JOIN resolution_queue q "
            "USING (question_id) WHERE q.kind = 'late_ticker_change' AND d.choice = 'same' AND d.known_from <= :known",
            known=known,
        )
        edges = []
        for subject, candidates, since, by in rows:
            before, after = json.loads(candidates)
            edges.append(
                ("same_claim", json.loads(subject)["date"], before, after, 1.0, np.nan, since, f"decision of {by}")
            )
        return pd.DataFrame(edges, columns=lineage.COLUMNS)

    @cached_property
    def _code_holders(self) -> Holders:
        return Holders.of_codes(self._store.believed("listing", None))

    @cached_property
    def _industry_names(self) -> dict[str, str]:
        taxonomy = read_configurations(self._store.db)[-1][1]
        return dict(zip(taxonomy["fs_industry_code"], taxonomy["industry"], strict=True))


HISTORY_COLUMNS = ["what", "value", "detail", "valid_from", "valid_to", "known_from", "source", "evidence"]
EXPLAIN_COLUMNS = [
    "step",
    "sec_id",
    "value",
    "valid_from",
    "valid_to",
    "known_from",
    "source",
    "evidence",
    "batch_id",
]
TAIL_COLUMNS = ["known_from", "known_to", "known_assumed", "source", "evidence", "batch_id"]
