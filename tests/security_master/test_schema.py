"""The database itself refuses what must not be stored: each constraint with the fault planted once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from security_master import SecurityMaster, schema
from security_master.derive import FACT_TABLES
from security_master.evidence import ROW_TABLES

A, B = "SAAAAAAAA", "SBBBBBBBB"
KNOWN = "2010-01-04T21:00:00.000000Z"
NEVER = "9999-12-31T00:00:00.000000Z"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """An empty master with two securities and a batch."""
    connection = schema.create(tmp_path / "master.sqlite")
    connection.execute("INSERT INTO load_batch VALUES ('b', 1, 1)")
    for sec_id in (A, B):
        connection.execute("INSERT INTO security VALUES (?, 'listing', ?, ?, 'b')", (sec_id, sec_id, KNOWN))
    yield connection
    connection.close()


def insert(db: sqlite3.Connection, table: str, verb: str = "INSERT", **columns: object) -> None:
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    db.execute(f"{verb} INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))


def ticker(db: sqlite3.Connection, sec_id: str = A, verb: str = "INSERT", **columns: object) -> None:
    row: dict[str, object] = {
        "sec_id": sec_id,
        "market": "US",
        "ticker": "ABC",
        "trading_mode": "regular",
        "valid_from": "2010-01-04",
        "valid_to": "2012-01-04",
        "known_from": KNOWN,
        "known_assumed": 0,
        "source": "securities",
        "evidence": "e",
        "batch_id": "b",
    }
    insert(db, "ticker_map", verb, **(row | columns))


def refused(db: sqlite3.Connection, match: str, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match=match):
        db.execute(statement)


def test_two_securities_cannot_have_one_ticker_at_once(db: sqlite3.Connection) -> None:
    ticker(db)
    with pytest.raises(sqlite3.IntegrityError, match="TICKER_MAP_OVERLAP_BY_TICKER"):
        ticker(db, B, valid_from="2011-12-31", valid_to="2013-01-04")
    ticker(db, B, valid_from="2012-01-04", valid_to="2013-01-04")  # half-open: the next day is free


def test_one_security_cannot_have_two_tickers_at_once(db: sqlite3.Connection) -> None:
    ticker(db)
    with pytest.raises(sqlite3.IntegrityError, match="TICKER_MAP_OVERLAP_BY_SECURITY"):
        ticker(db, ticker="XYZ", valid_from="2011-01-04", valid_to="2011-02-04")


def test_an_overlap_in_validity_is_allowed_when_it_was_not_believed_at_the_same_time(db: sqlite3.Connection) -> None:
    ticker(db, known_to="2010-02-01T00:00:00.000000Z")
    ticker(db, B, known_from="2010-02-01T00:00:00.000000Z")


@pytest.mark.parametrize(
    ("table", "columns", "clash"),
    [
        ("listing", {"vendor_code": "X"}, "LISTING_OVERLAP_BY_CODE"),
        ("xref", {"scheme": "isin", "value": "US0378331005"}, "XREF_OVERLAP_BY_VALUE"),
        ("classification_hist", {"scheme": "fs", "code": "2510"}, "CLASSIFICATION_HIST_OVERLAP_BY_SECURITY"),
        ("shares_hist", {"period_end": "2010-03-31"}, "SHARES_HIST_OVERLAP_BY_FILING"),
        ("corp_action", {"type": "split", "ex_date": "2010-03-31"}, "CORP_ACTION_OVERLAP_BY_EVENT"),
        ("delisting", {"last_session": "2010-03-31"}, "DELISTING_OVERLAP_BY_EPISODE"),
    ],
)
def test_no_fact_may_be_stored_twice_for_one_key_and_time(
    db: sqlite3.Connection, table: str, columns: dict[str, object], clash: str
) -> None:
    fact = whole_row(table) | columns
    other = {"sec_id": B} if clash.endswith(("CODE", "VALUE")) else {}
    insert(db, table, **fact)
    with pytest.raises(sqlite3.IntegrityError, match=clash):
        insert(db, table, **(fact | other))


def test_one_security_cannot_be_listed_under_two_codes_at_once(db: sqlite3.Connection) -> None:
    insert(db, "listing", **whole_row("listing"))
    with pytest.raises(sqlite3.IntegrityError, match="LISTING_OVERLAP_BY_SECURITY"):
        insert(db, "listing", **(whole_row("listing") | {"vendor_code": "Y"}))


def test_classes_of_one_issuer_may_share_its_cik(db: sqlite3.Connection) -> None:
    for sec_id in (A, B):
        insert(db, "xref", **(whole_row("xref") | {"scheme": "cik", "value": "1067983", "sec_id": sec_id}))


@pytest.mark.parametrize(
    "fault",
    [
        {"valid_from": "2012-01-04"},  # empty interval
        {"valid_from": "2010-6-8"},
        {"valid_from": "2022-06-31", "valid_to": "2023-01-01"},
        {"valid_from": "garbage"},
        {"valid_to": "2012-02-30"},
        {"known_from": "2010-01-04"},  # a date is no instant
        {"known_from": "2010-01-04T21:00:00Z"},
        {"known_from": "2010-02-30T21:00:00.000000Z"},
        {"known_from": NEVER},  # believed for no time
        {"ticker": "abc"},
        {"ticker": ""},
        {"trading_mode": "dark"},
        {"market": ""},
        {"sec_id": "SCCCCCCCC"},  # no such security
        {"batch_id": "other"},  # no such batch
        {"evidence": None},
        {"known_assumed": 2},
    ],
    ids=str,
)
def test_malformed_facts_are_refused(db: sqlite3.Connection, fault: dict[str, object]) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        ticker(db, **fault)


@pytest.mark.parametrize("fault", ["SAAAAAAA", "AAAAAAAAA", "Saaaaaaaa", "SAAAAAAA1", "AAPL"])
def test_an_id_that_is_not_opaque_is_refused(db: sqlite3.Connection, fault: str) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO security VALUES (?, 'listing', ?, ?, 'b')", (fault, fault, KNOWN))


def test_numbers_stored_as_text_are_refused_because_tables_are_strict(db: sqlite3.Connection) -> None:
    row = whole_row("shares_hist") | {"shares_raw": "many"}
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT"):
        insert(db, "shares_hist", **row)


def test_a_split_ratio_must_be_positive(db: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="ratio_den"):
        insert(db, "corp_action", **(whole_row("corp_action") | {"ratio_den": 0}))


ALL_TABLES = [
    *FACT_TABLES,
    *(table.stored for table in ROW_TABLES.values()),
    "security",
    "id_registry",
    "decision",
    "load_batch",
    "revision",
    "resolution_queue",
    "resolution_log",
    "universe_snapshot",
    "universe_membership",
    "taxonomy",
    "factor_etf",
]


@pytest.mark.parametrize("table", ALL_TABLES)
def test_stored_rows_cannot_be_deleted_edited_or_replaced(db: sqlite3.Connection, table: str) -> None:
    if table == "universe_membership":
        db.execute("BEGIN")
    insert(db, table, **whole_row(table))
    if table == "universe_membership":
        insert(db, "universe_snapshot", **whole_row("universe_snapshot"))
        db.execute("COMMIT")
    column = "detail" if table in ("resolution_queue", "resolution_log") else next(iter(whole_row(table)))
    refused(db, "APPEND_ONLY", f"DELETE FROM {table}")
    refused(db, "APPEND_ONLY", f"UPDATE {table} SET {column} = {column} || 'x'")
    if table in FACT_TABLES or table == "resolution_queue":
        before = db.execute(f"SELECT * FROM {table}").fetchall()
        rowid = db.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0]
        extra = {"row_id": rowid} if table in FACT_TABLES else {}
        with pytest.raises(sqlite3.IntegrityError):
            insert(db, table, "INSERT OR REPLACE", **(whole_row(table) | extra))
        assert db.execute(f"SELECT * FROM {table}").fetchall() == before
    elif table not in ("revision", "resolution_log"):  # these have no key to replace by
        with pytest.raises(sqlite3.IntegrityError, match=r"APPEND_ONLY|SNAPSHOT_PUBLISHED"):
            insert(db, table, "INSERT OR REPLACE", **whole_row(table))


@pytest.mark.parametrize("table", FACT_TABLES)
def test_the_only_change_to_a_fact_is_to_stop_believing_it(db: sqlite3.Connection, table: str) -> None:
    insert(db, table, **whole_row(table))
    later, latest = "2011-01-04T21:00:00.000000Z", "2012-01-04T21:00:00.000000Z"
    refused(db, "APPEND_ONLY", f"UPDATE {table} SET known_to = '{KNOWN}'")
    refused(db, "APPEND_ONLY", f"UPDATE {table} SET known_to = '{later}', sec_id = '{B}'")
    db.execute(f"UPDATE {table} SET known_to = '{later}'")
    refused(db, "APPEND_ONLY", f"UPDATE {table} SET known_to = '{latest}'")
    refused(db, "APPEND_ONLY", f"UPDATE {table} SET known_to = '{NEVER}'")


def test_without_recursive_triggers_a_replace_would_go_unseen(db: sqlite3.Connection) -> None:
    """Why every writing connection sets the pragma."""
    insert(db, "ticker_map", **whole_row("ticker_map"))
    row_id = db.execute("SELECT row_id FROM ticker_map").fetchone()[0]
    changed = whole_row("ticker_map") | {"row_id": row_id, "ticker": "XYZ", "valid_from": "2013-01-04"}
    changed["valid_to"] = "2014-01-04"
    with pytest.raises(sqlite3.IntegrityError, match="APPEND_ONLY"):
        insert(db, "ticker_map", "INSERT OR REPLACE", **changed)
    db.execute("PRAGMA recursive_triggers = OFF")
    insert(db, "ticker_map", "INSERT OR REPLACE", **changed)
    assert db.execute("SELECT ticker FROM ticker_map").fetchall() == [("XYZ",)]


def test_a_recorded_snapshot_takes_no_more_members(db: sqlite3.Connection) -> None:
    insert(db, "universe_snapshot", **whole_row("universe_snapshot"))
    with pytest.raises(sqlite3.IntegrityError, match="SNAPSHOT_PUBLISHED"):
        insert(db, "universe_membership", **whole_row("universe_membership"))


def test_members_without_a_snapshot_are_refused(db: sqlite3.Connection) -> None:
    db.execute("BEGIN")
    insert(db, "universe_membership", **whole_row("universe_membership"))
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        db.execute("COMMIT")
    db.execute("ROLLBACK")


def test_a_master_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.sqlite"
    schema.create(path).close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(schema.SchemaVersionError, match="schema version 99"):
        SecurityMaster.open(path)
    with pytest.raises(schema.SchemaVersionError, match="newer"):
        schema.open_as_current(path)


def test_an_older_master_is_read_through_a_migrated_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "master.sqlite"
    schema.create(path).close()
    steps = [*schema.migrations(), (2, "ALTER TABLE meta ADD COLUMN note TEXT NOT NULL DEFAULT '';")]
    monkeypatch.setattr(schema, "migrations", lambda: steps)
    with pytest.raises(schema.SchemaVersionError, match="rebuild"):
        schema.open_existing(path)
    copy = schema.open_as_current(path)
    assert schema.version_of(copy) == 2
    copy.execute("INSERT INTO meta (key, value, note) VALUES ('a', 'b', 'c')")
    original = sqlite3.connect(path)
    assert schema.version_of(original) == 1
    original.close()


def test_a_migration_that_fails_leaves_the_database_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(db)
    steps = [*schema.migrations(), (2, "CREATE TABLE half_done (x TEXT) STRICT; CREATE TABLE meta (x TEXT) STRICT;")]
    monkeypatch.setattr(schema, "migrations", lambda: steps)
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        schema.migrate(db)
    assert schema.version_of(db) == 1
    assert db.execute("SELECT name FROM sqlite_master WHERE name = 'half_done'").fetchall() == []


def test_a_missing_master_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="erm3 security build"):
        SecurityMaster.open(tmp_path / "nothing.sqlite")


def whole_row(table: str) -> dict[str, object]:
    """A valid row of a table; a key column first."""
    tail = {"known_from": KNOWN, "known_assumed": 0, "batch_id": "b"}
    fact = {"sec_id": A, **tail, "source": "test", "evidence": "e"}
    valid = {"valid_from": "2010-01-04", "valid_to": "2012-01-04"}
    code = {"vendor_code": "X"}
    snapshot = {"universe": "uni_mc_50", "mask_as_of": "2010-01-29", "rule_version": "1"}
    rows: dict[str, dict[str, object]] = {
        "ticker_map": fact | valid | {"market": "US", "ticker": "ABC", "trading_mode": "regular"},
        "listing": fact
        | valid
        | code
        | {"exchange": "NYSE", "market": "US", "trading_mode": "regular", "sec_type": "common"}
        | {"currency": "USD", "name": "Abacus"},
        "xref": fact | valid | {"scheme": "isin", "value": "US0378331005"},
        "classification_hist": fact | valid | {"scheme": "fs", "scheme_version": "1", "code": "2510"},
        "shares_hist": fact
        | {"period_end": "2010-03-31", "filed_at": "2010-05-01T21:00:00.000000Z", "shares_raw": 1.0},
        "corp_action": fact
        | {"type": "split", "ex_date": "2010-03-31", "ratio_num": 2, "ratio_den": 1, "child_code": ""},
        "delisting": fact | {"last_session": "2010-03-31", "reason": "merger", "successor_code": ""},
        "securities_row": code
        | dict.fromkeys(
            ["ticker", "name", "type", "exchange", "currency", "first_session", "last_session", "isin", "cusip", "cik"],
            "",
        )
        | {"share_class_figi": "", "composite_figi": "", "first_bar": ""}
        | tail,
        "ticker_changes_row": code | {"effective_date": "2010-03-31", "old_ticker": "A", "new_ticker": "B"} | tail,
        "classification_row": code
        | {"valid_from": "2010-03-31", "fs_industry_code": "2510", "gics_sub_industry": ""}
        | tail,
        "shares_row": code
        | {"period_end": "2010-03-31", "filed_at": "2010-05-01T21:00:00.000000Z", "shares": 1.0}
        | tail,
        "splits_row": code | {"ex_date": "2010-03-31", "ratio_new": 2, "ratio_old": 1, "kind": "split"} | tail,
        "spin_offs_row": code | {"ex_date": "2010-03-31", "child_code": "Y", "child_ratio": 1.0, "value": 1.0} | tail,
        "delistings_row": code | {"last_session": "2010-03-31", "reason": "merger", "successor_code": ""} | tail,
        "security": {"sec_id": "SDDDDDDDD", "anchor_type": "listing", "anchor_value": "X|", "known_from": KNOWN}
        | {"batch_id": "b"},
        "id_registry": {"anchor_type": "listing", "anchor_value": "X|", "anchor_from": "", "sec_id": A}
        | {"rule": "minted", "known_from": KNOWN, "batch_id": "b"},
        "decision": {"question_id": "q", "choice": "new", "sec_id": "", "decided_by": "me", "reason": "r"}
        | {"known_from": KNOWN, "batch_id": "b"},
        "load_batch": {"batch_id": "c", "seq": 2, "new_rows": 1},
        "revision": {"table_name": "shares", "row_key": "[]", "was": "{}", "batch_id": "b"},
        "resolution_queue": {"question_id": "q", "kind": "k", "subject": "{}", "candidates": "[]", "detail": ""}
        | {"known_from": KNOWN},
        "resolution_log": {"subject": "X|", "sec_id": A, "rule": "minted", "detail": "", "known_from": KNOWN},
        "universe_snapshot": snapshot | {"input_hash": "h", "members": 1, "known_from": KNOWN},
        "universe_membership": snapshot | {"sec_id": A, "rank": 1, "market_cap": 1.0, "status": "in", "reason": ""},
        "taxonomy": {"taxonomy_version": "v", "position": 0, "fs_industry_code": "2510", "industry": "i"}
        | {"fs_sector_code": "8", "sector": "s", "sector_etf": "XLK", "subsector_etf": "IGV"},
        "factor_etf": {"taxonomy_version": "v", "position": 0, "etf": "XLK", "role": "sector"}
        | {"first_session": "", "proxy": ""},
    }
    return rows[table]
