-- Version 1 of the security master's schema.
--
-- Dates are ISO `YYYY-MM-DD`, instants ISO UTC with microseconds, intervals half-open [from, to). `9999-12-31` means
-- "no end known". A missing text is ''. Each connection that writes sets `PRAGMA foreign_keys = ON` and
-- `PRAGMA recursive_triggers = ON`; without the second, INSERT OR REPLACE would delete a row unseen by the triggers.
-- `x IS date(julianday(x))` and not `x = date(x)`: date() of garbage is NULL, and a NULL check passes; date() alone
-- lets 2022-06-31 through.

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

CREATE TABLE load_batch (
  batch_id TEXT PRIMARY KEY CHECK (batch_id <> ''),
  seq      INTEGER NOT NULL UNIQUE,
  new_rows INTEGER NOT NULL CHECK (new_rows >= 0)
) STRICT;

-- Identities. `security` and `id_registry` only ever grow.

CREATE TABLE security (
  sec_id       TEXT PRIMARY KEY CHECK (sec_id GLOB 'S[A-Z2-7][A-Z2-7][A-Z2-7][A-Z2-7][A-Z2-7][A-Z2-7][A-Z2-7][A-Z2-7]'),
  anchor_type  TEXT NOT NULL,
  anchor_value TEXT NOT NULL,
  known_from   TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  batch_id     TEXT NOT NULL REFERENCES load_batch (batch_id),
  UNIQUE (anchor_type, anchor_value)
) STRICT;

CREATE TABLE id_registry (
  anchor_type  TEXT NOT NULL CHECK (anchor_type IN
                 ('share_class_figi', 'composite_figi', 'isin', 'cusip', 'cik_type', 'listing', 'manual')),
  anchor_value TEXT NOT NULL CHECK (anchor_value <> ''),
  anchor_from  TEXT NOT NULL CHECK (anchor_from = '' OR anchor_from IS date(julianday(anchor_from))),
  sec_id       TEXT NOT NULL REFERENCES security (sec_id),
  rule         TEXT NOT NULL,
  known_from   TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  batch_id     TEXT NOT NULL REFERENCES load_batch (batch_id),
  UNIQUE (anchor_type, anchor_value, anchor_from)
) STRICT;

-- Rows as the source delivered them, by vendor code. Facts are derived from these and from `decision`.

CREATE TABLE securities_row (
  vendor_code TEXT NOT NULL CHECK (vendor_code <> ''),
  ticker TEXT NOT NULL,
  name TEXT NOT NULL,
  type TEXT NOT NULL,
  exchange TEXT NOT NULL,
  currency TEXT NOT NULL,
  first_session TEXT NOT NULL CHECK (first_session = '' OR first_session IS date(julianday(first_session))),
  last_session TEXT NOT NULL CHECK (last_session = '' OR last_session IS date(julianday(last_session))),
  share_class_figi TEXT NOT NULL,
  composite_figi TEXT NOT NULL,
  isin TEXT NOT NULL,
  cusip TEXT NOT NULL,
  cik TEXT NOT NULL,
  first_bar TEXT NOT NULL CHECK (first_bar = '' OR first_bar IS date(julianday(first_bar))),
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  UNIQUE (vendor_code, first_session, known_from)
) STRICT;

CREATE TABLE ticker_changes_row (
  vendor_code TEXT NOT NULL CHECK (vendor_code <> ''),
  effective_date TEXT NOT NULL CHECK (effective_date IS date(julianday(effective_date))),
  old_ticker TEXT NOT NULL CHECK (old_ticker <> ''),
  new_ticker TEXT NOT NULL CHECK (new_ticker <> ''),
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  UNIQUE (vendor_code, effective_date, known_from)
) STRICT;

CREATE TABLE classification_row (
  vendor_code TEXT NOT NULL CHECK (vendor_code <> ''),
  valid_from TEXT NOT NULL CHECK (valid_from IS date(julianday(valid_from))),
  fs_industry_code TEXT NOT NULL,
  gics_sub_industry TEXT NOT NULL,
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  UNIQUE (vendor_code, valid_from, known_from)
) STRICT;

CREATE TABLE shares_row (
  vendor_code TEXT NOT NULL CHECK (vendor_code <> ''),
  period_end TEXT NOT NULL CHECK (period_end IS date(julianday(period_end))),
  filed_at TEXT NOT NULL CHECK (filed_at GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(filed_at, 1, 10) IS date(julianday(substr(filed_at, 1, 10)))),
  shares REAL,
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  UNIQUE (vendor_code, period_end, filed_at, known_from)
) STRICT;

CREATE TABLE splits_row (
  vendor_code TEXT NOT NULL CHECK (vendor_code <> ''),
  ex_date TEXT NOT NULL CHECK (ex_date IS date(julianday(ex_date))),
  ratio_new INTEGER NOT NULL CHECK (ratio_new > 0),
  ratio_old INTEGER NOT NULL CHECK (ratio_old > 0),
  kind TEXT NOT NULL CHECK (kind IN ('split', 'spin_off')),
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  UNIQUE (vendor_code, ex_date, known_from)
) STRICT;

CREATE TABLE spin_offs_row (
  vendor_code TEXT NOT NULL CHECK (vendor_code <> ''),
  ex_date TEXT NOT NULL CHECK (ex_date IS date(julianday(ex_date))),
  child_code TEXT NOT NULL,
  child_ratio REAL CHECK (child_ratio > 0),
  value REAL,
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  UNIQUE (vendor_code, ex_date, child_code, known_from)
) STRICT;

CREATE TABLE delistings_row (
  vendor_code TEXT NOT NULL CHECK (vendor_code <> ''),
  last_session TEXT NOT NULL CHECK (last_session IS date(julianday(last_session))),
  reason TEXT NOT NULL CHECK (reason <> ''),
  cash REAL,
  successor_code TEXT NOT NULL,
  successor_ratio REAL,
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  UNIQUE (vendor_code, last_session, known_from)
) STRICT;

CREATE TABLE decision (
  question_id TEXT NOT NULL,
  choice      TEXT NOT NULL CHECK (choice IN ('same', 'new', 'ignore')),
  sec_id      TEXT NOT NULL CHECK ((choice = 'same') = (sec_id <> '')),
  decided_by  TEXT NOT NULL CHECK (decided_by <> ''),
  reason      TEXT NOT NULL,
  known_from  TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  batch_id    TEXT NOT NULL REFERENCES load_batch (batch_id),
  UNIQUE (question_id, known_from)
) STRICT;

-- A delivered row that replaced one with the same key and the same known_from: what it said before.
CREATE TABLE revision (
  table_name TEXT NOT NULL,
  row_key    TEXT NOT NULL,
  was        TEXT NOT NULL,
  batch_id   TEXT NOT NULL REFERENCES load_batch (batch_id)
) STRICT;

-- Dated facts by permanent id, on two clocks.

CREATE TABLE listing (
  row_id INTEGER PRIMARY KEY,
  sec_id TEXT NOT NULL REFERENCES security (sec_id),
  vendor_code TEXT NOT NULL CHECK (vendor_code <> ''),
  exchange TEXT NOT NULL,
  market TEXT NOT NULL CHECK (market <> ''),
  trading_mode TEXT NOT NULL CHECK (trading_mode IN ('regular', 'when_issued', 'otc')),
  sec_type TEXT NOT NULL CHECK (sec_type IN ('common', 'adr', 'reit', 'etf', 'unit', 'preferred', 'warrant', 'when_issued', 'other')),
  currency TEXT NOT NULL,
  name TEXT NOT NULL,
  valid_from TEXT NOT NULL CHECK (valid_from IS date(julianday(valid_from))),
  valid_to TEXT NOT NULL DEFAULT '9999-12-31' CHECK (valid_to IS date(julianday(valid_to))),
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_to TEXT NOT NULL DEFAULT '9999-12-31T00:00:00.000000Z' CHECK (known_to GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_to, 1, 10) IS date(julianday(substr(known_to, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  source TEXT NOT NULL,
  evidence TEXT NOT NULL,
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  CHECK (valid_from < valid_to),
  CHECK (known_from < known_to)
) STRICT;
CREATE INDEX listing_by_code ON listing (vendor_code, valid_from);
CREATE INDEX listing_by_security ON listing (sec_id, valid_from);
CREATE TRIGGER listing_no_overlap BEFORE INSERT ON listing BEGIN
  SELECT RAISE(ABORT, 'LISTING_OVERLAP_BY_CODE') FROM listing t
   WHERE t.vendor_code = NEW.vendor_code
     AND t.valid_from < NEW.valid_to AND NEW.valid_from < t.valid_to
     AND t.known_from < NEW.known_to AND NEW.known_from < t.known_to;
  SELECT RAISE(ABORT, 'LISTING_OVERLAP_BY_SECURITY') FROM listing t
   WHERE t.sec_id = NEW.sec_id
     AND t.valid_from < NEW.valid_to AND NEW.valid_from < t.valid_to
     AND t.known_from < NEW.known_to AND NEW.known_from < t.known_to;
END;
CREATE TRIGGER listing_append_only BEFORE UPDATE ON listing
WHEN NOT (OLD.known_to = '9999-12-31T00:00:00.000000Z' AND NEW.known_to < OLD.known_to AND NEW.known_to > OLD.known_from
  AND NEW.row_id IS OLD.row_id AND NEW.sec_id IS OLD.sec_id AND NEW.vendor_code IS OLD.vendor_code AND
  NEW.exchange IS OLD.exchange AND NEW.market IS OLD.market AND NEW.trading_mode IS OLD.trading_mode AND
  NEW.sec_type IS OLD.sec_type AND NEW.currency IS OLD.currency AND NEW.name IS OLD.name AND NEW.valid_from IS
  OLD.valid_from AND NEW.valid_to IS OLD.valid_to AND NEW.known_from IS OLD.known_from AND NEW.known_assumed IS
  OLD.known_assumed AND NEW.source IS OLD.source AND NEW.evidence IS OLD.evidence AND NEW.batch_id IS
  OLD.batch_id
  ) BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER listing_no_delete BEFORE DELETE ON listing BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;

CREATE TABLE ticker_map (
  row_id INTEGER PRIMARY KEY,
  sec_id TEXT NOT NULL REFERENCES security (sec_id),
  market TEXT NOT NULL CHECK (market <> ''),
  ticker TEXT NOT NULL CHECK (ticker = upper(ticker) AND ticker <> ''),
  trading_mode TEXT NOT NULL CHECK (trading_mode IN ('regular', 'when_issued', 'otc')),
  valid_from TEXT NOT NULL CHECK (valid_from IS date(julianday(valid_from))),
  valid_to TEXT NOT NULL DEFAULT '9999-12-31' CHECK (valid_to IS date(julianday(valid_to))),
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_to TEXT NOT NULL DEFAULT '9999-12-31T00:00:00.000000Z' CHECK (known_to GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_to, 1, 10) IS date(julianday(substr(known_to, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  source TEXT NOT NULL,
  evidence TEXT NOT NULL,
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  CHECK (valid_from < valid_to),
  CHECK (known_from < known_to)
) STRICT;
CREATE INDEX ticker_map_by_ticker ON ticker_map (ticker, market, valid_from);
CREATE INDEX ticker_map_by_security ON ticker_map (sec_id, market, trading_mode, valid_from);
CREATE TRIGGER ticker_map_no_overlap BEFORE INSERT ON ticker_map BEGIN
  SELECT RAISE(ABORT, 'TICKER_MAP_OVERLAP_BY_TICKER') FROM ticker_map t
   WHERE t.ticker = NEW.ticker AND t.market = NEW.market
     AND t.valid_from < NEW.valid_to AND NEW.valid_from < t.valid_to
     AND t.known_from < NEW.known_to AND NEW.known_from < t.known_to;
  SELECT RAISE(ABORT, 'TICKER_MAP_OVERLAP_BY_SECURITY') FROM ticker_map t
   WHERE t.sec_id = NEW.sec_id AND t.market = NEW.market AND t.trading_mode = NEW.trading_mode
     AND t.valid_from < NEW.valid_to AND NEW.valid_from < t.valid_to
     AND t.known_from < NEW.known_to AND NEW.known_from < t.known_to;
END;
CREATE TRIGGER ticker_map_append_only BEFORE UPDATE ON ticker_map
WHEN NOT (OLD.known_to = '9999-12-31T00:00:00.000000Z' AND NEW.known_to < OLD.known_to AND NEW.known_to > OLD.known_from
  AND NEW.row_id IS OLD.row_id AND NEW.sec_id IS OLD.sec_id AND NEW.market IS OLD.market AND NEW.ticker IS
  OLD.ticker AND NEW.trading_mode IS OLD.trading_mode AND NEW.valid_from IS OLD.valid_from AND NEW.valid_to IS
  OLD.valid_to AND NEW.known_from IS OLD.known_from AND NEW.known_assumed IS OLD.known_assumed AND NEW.source IS
  OLD.source AND NEW.evidence IS OLD.evidence AND NEW.batch_id IS OLD.batch_id
  ) BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER ticker_map_no_delete BEFORE DELETE ON ticker_map BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;

CREATE TABLE xref (
  row_id INTEGER PRIMARY KEY,
  sec_id TEXT NOT NULL REFERENCES security (sec_id),
  scheme TEXT NOT NULL CHECK (scheme IN ('share_class_figi', 'composite_figi', 'isin', 'cusip', 'cik')),
  value TEXT NOT NULL CHECK (value <> ''),
  valid_from TEXT NOT NULL CHECK (valid_from IS date(julianday(valid_from))),
  valid_to TEXT NOT NULL DEFAULT '9999-12-31' CHECK (valid_to IS date(julianday(valid_to))),
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_to TEXT NOT NULL DEFAULT '9999-12-31T00:00:00.000000Z' CHECK (known_to GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_to, 1, 10) IS date(julianday(substr(known_to, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  source TEXT NOT NULL,
  evidence TEXT NOT NULL,
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  CHECK (valid_from < valid_to),
  CHECK (known_from < known_to)
) STRICT;
CREATE INDEX xref_by_value ON xref (scheme, value, valid_from);
CREATE INDEX xref_by_security ON xref (sec_id, scheme, valid_from);
CREATE TRIGGER xref_no_overlap BEFORE INSERT ON xref BEGIN
  SELECT RAISE(ABORT, 'XREF_OVERLAP_BY_VALUE') FROM xref t
   WHERE t.scheme = NEW.scheme AND t.value = NEW.value
     AND NEW.scheme <> 'cik'
     AND t.valid_from < NEW.valid_to AND NEW.valid_from < t.valid_to
     AND t.known_from < NEW.known_to AND NEW.known_from < t.known_to;
  SELECT RAISE(ABORT, 'XREF_OVERLAP_BY_SECURITY') FROM xref t
   WHERE t.sec_id = NEW.sec_id AND t.scheme = NEW.scheme
     AND t.valid_from < NEW.valid_to AND NEW.valid_from < t.valid_to
     AND t.known_from < NEW.known_to AND NEW.known_from < t.known_to;
END;
CREATE TRIGGER xref_append_only BEFORE UPDATE ON xref
WHEN NOT (OLD.known_to = '9999-12-31T00:00:00.000000Z' AND NEW.known_to < OLD.known_to AND NEW.known_to > OLD.known_from
  AND NEW.row_id IS OLD.row_id AND NEW.sec_id IS OLD.sec_id AND NEW.scheme IS OLD.scheme AND NEW.value IS
  OLD.value AND NEW.valid_from IS OLD.valid_from AND NEW.valid_to IS OLD.valid_to AND NEW.known_from IS
  OLD.known_from AND NEW.known_assumed IS OLD.known_assumed AND NEW.source IS OLD.source AND NEW.evidence IS
  OLD.evidence AND NEW.batch_id IS OLD.batch_id
  ) BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER xref_no_delete BEFORE DELETE ON xref BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;

CREATE TABLE classification_hist (
  row_id INTEGER PRIMARY KEY,
  sec_id TEXT NOT NULL REFERENCES security (sec_id),
  scheme TEXT NOT NULL CHECK (scheme IN ('fs', 'gics')),
  scheme_version TEXT NOT NULL,
  code TEXT NOT NULL,
  valid_from TEXT NOT NULL CHECK (valid_from IS date(julianday(valid_from))),
  valid_to TEXT NOT NULL DEFAULT '9999-12-31' CHECK (valid_to IS date(julianday(valid_to))),
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_to TEXT NOT NULL DEFAULT '9999-12-31T00:00:00.000000Z' CHECK (known_to GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_to, 1, 10) IS date(julianday(substr(known_to, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  source TEXT NOT NULL,
  evidence TEXT NOT NULL,
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  CHECK (valid_from < valid_to),
  CHECK (known_from < known_to)
) STRICT;
CREATE INDEX classification_hist_by_security ON classification_hist (sec_id, scheme, valid_from);
CREATE TRIGGER classification_hist_no_overlap BEFORE INSERT ON classification_hist BEGIN
  SELECT RAISE(ABORT, 'CLASSIFICATION_HIST_OVERLAP_BY_SECURITY') FROM classification_hist t
   WHERE t.sec_id = NEW.sec_id AND t.scheme = NEW.scheme
     AND t.valid_from < NEW.valid_to AND NEW.valid_from < t.valid_to
     AND t.known_from < NEW.known_to AND NEW.known_from < t.known_to;
END;
CREATE TRIGGER classification_hist_append_only BEFORE UPDATE ON classification_hist
WHEN NOT (OLD.known_to = '9999-12-31T00:00:00.000000Z' AND NEW.known_to < OLD.known_to AND NEW.known_to > OLD.known_from
  AND NEW.row_id IS OLD.row_id AND NEW.sec_id IS OLD.sec_id AND NEW.scheme IS OLD.scheme AND NEW.scheme_version
  IS OLD.scheme_version AND NEW.code IS OLD.code AND NEW.valid_from IS OLD.valid_from AND NEW.valid_to IS
  OLD.valid_to AND NEW.known_from IS OLD.known_from AND NEW.known_assumed IS OLD.known_assumed AND NEW.source IS
  OLD.source AND NEW.evidence IS OLD.evidence AND NEW.batch_id IS OLD.batch_id
  ) BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER classification_hist_no_delete BEFORE DELETE ON classification_hist BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;

CREATE TABLE shares_hist (
  row_id INTEGER PRIMARY KEY,
  sec_id TEXT NOT NULL REFERENCES security (sec_id),
  period_end TEXT NOT NULL CHECK (period_end IS date(julianday(period_end))),
  filed_at TEXT NOT NULL CHECK (filed_at GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(filed_at, 1, 10) IS date(julianday(substr(filed_at, 1, 10)))),
  shares_raw REAL,
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_to TEXT NOT NULL DEFAULT '9999-12-31T00:00:00.000000Z' CHECK (known_to GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_to, 1, 10) IS date(julianday(substr(known_to, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  source TEXT NOT NULL,
  evidence TEXT NOT NULL,
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  CHECK (shares_raw >= 0),
  CHECK (known_from < known_to)
) STRICT;
CREATE INDEX shares_hist_by_filing ON shares_hist (sec_id, period_end, filed_at);
CREATE TRIGGER shares_hist_no_overlap BEFORE INSERT ON shares_hist BEGIN
  SELECT RAISE(ABORT, 'SHARES_HIST_OVERLAP_BY_FILING') FROM shares_hist t
   WHERE t.sec_id = NEW.sec_id AND t.period_end = NEW.period_end AND t.filed_at = NEW.filed_at
     AND t.known_from < NEW.known_to AND NEW.known_from < t.known_to;
END;
CREATE TRIGGER shares_hist_append_only BEFORE UPDATE ON shares_hist
WHEN NOT (OLD.known_to = '9999-12-31T00:00:00.000000Z' AND NEW.known_to < OLD.known_to AND NEW.known_to > OLD.known_from
  AND NEW.row_id IS OLD.row_id AND NEW.sec_id IS OLD.sec_id AND NEW.period_end IS OLD.period_end AND
  NEW.filed_at IS OLD.filed_at AND NEW.shares_raw IS OLD.shares_raw AND NEW.known_from IS OLD.known_from AND
  NEW.known_assumed IS OLD.known_assumed AND NEW.source IS OLD.source AND NEW.evidence IS OLD.evidence AND
  NEW.batch_id IS OLD.batch_id
  ) BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER shares_hist_no_delete BEFORE DELETE ON shares_hist BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;

CREATE TABLE corp_action (
  row_id INTEGER PRIMARY KEY,
  sec_id TEXT NOT NULL REFERENCES security (sec_id),
  type TEXT NOT NULL CHECK (type IN ('split', 'split_as_spin_off', 'spin_off')),
  ex_date TEXT NOT NULL CHECK (ex_date IS date(julianday(ex_date))),
  ratio_num INTEGER NOT NULL CHECK (ratio_num > 0),
  ratio_den INTEGER NOT NULL CHECK (ratio_den > 0),
  child_code TEXT NOT NULL,
  child_ratio REAL,
  value REAL,
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_to TEXT NOT NULL DEFAULT '9999-12-31T00:00:00.000000Z' CHECK (known_to GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_to, 1, 10) IS date(julianday(substr(known_to, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  source TEXT NOT NULL,
  evidence TEXT NOT NULL,
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  CHECK ((type = 'spin_off') = (child_code <> '')),
  CHECK (known_from < known_to)
) STRICT;
CREATE INDEX corp_action_by_event ON corp_action (sec_id, type, ex_date, child_code);
CREATE TRIGGER corp_action_no_overlap BEFORE INSERT ON corp_action BEGIN
  SELECT RAISE(ABORT, 'CORP_ACTION_OVERLAP_BY_EVENT') FROM corp_action t
   WHERE t.sec_id = NEW.sec_id AND t.type = NEW.type AND t.ex_date = NEW.ex_date AND t.child_code = NEW.child_code
     AND t.known_from < NEW.known_to AND NEW.known_from < t.known_to;
END;
CREATE TRIGGER corp_action_append_only BEFORE UPDATE ON corp_action
WHEN NOT (OLD.known_to = '9999-12-31T00:00:00.000000Z' AND NEW.known_to < OLD.known_to AND NEW.known_to > OLD.known_from
  AND NEW.row_id IS OLD.row_id AND NEW.sec_id IS OLD.sec_id AND NEW.type IS OLD.type AND NEW.ex_date IS
  OLD.ex_date  AND NEW.ratio_num IS OLD.ratio_num AND NEW.ratio_den IS OLD.ratio_den AND
  NEW.child_code IS OLD.child_code AND NEW.child_ratio IS OLD.child_ratio AND NEW.value IS OLD.value AND
  NEW.known_from IS OLD.known_from AND NEW.known_assumed IS OLD.known_assumed AND NEW.source IS OLD.source AND
  NEW.evidence IS OLD.evidence AND NEW.batch_id IS OLD.batch_id
  ) BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER corp_action_no_delete BEFORE DELETE ON corp_action BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;

CREATE TABLE delisting (
  row_id INTEGER PRIMARY KEY,
  sec_id TEXT NOT NULL REFERENCES security (sec_id),
  last_session TEXT NOT NULL CHECK (last_session IS date(julianday(last_session))),
  reason TEXT NOT NULL CHECK (reason IN ('merger', 'exchange_drop', 'bankruptcy', 'liquidation', 'voluntary', 'unknown')),
  cash REAL,
  successor_code TEXT NOT NULL,
  successor_ratio REAL,
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_to TEXT NOT NULL DEFAULT '9999-12-31T00:00:00.000000Z' CHECK (known_to GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_to, 1, 10) IS date(julianday(substr(known_to, 1, 10)))),
  known_assumed INTEGER NOT NULL CHECK (known_assumed IN (0, 1)),
  source TEXT NOT NULL,
  evidence TEXT NOT NULL,
  batch_id TEXT NOT NULL REFERENCES load_batch (batch_id),
  CHECK (known_from < known_to)
) STRICT;
CREATE INDEX delisting_by_episode ON delisting (sec_id, last_session);
CREATE TRIGGER delisting_no_overlap BEFORE INSERT ON delisting BEGIN
  SELECT RAISE(ABORT, 'DELISTING_OVERLAP_BY_EPISODE') FROM delisting t
   WHERE t.sec_id = NEW.sec_id AND t.last_session = NEW.last_session
     AND t.known_from < NEW.known_to AND NEW.known_from < t.known_to;
END;
CREATE TRIGGER delisting_append_only BEFORE UPDATE ON delisting
WHEN NOT (OLD.known_to = '9999-12-31T00:00:00.000000Z' AND NEW.known_to < OLD.known_to AND NEW.known_to > OLD.known_from
  AND NEW.row_id IS OLD.row_id AND NEW.sec_id IS OLD.sec_id AND NEW.last_session IS OLD.last_session AND
  NEW.reason IS OLD.reason AND NEW.cash IS OLD.cash AND NEW.successor_code IS OLD.successor_code AND
  NEW.successor_ratio IS OLD.successor_ratio AND NEW.known_from IS OLD.known_from AND NEW.known_assumed IS
  OLD.known_assumed AND NEW.source IS OLD.source AND NEW.evidence IS OLD.evidence AND NEW.batch_id IS
  OLD.batch_id
  ) BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER delisting_no_delete BEFORE DELETE ON delisting BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;

-- Questions that the evidence leaves open, and what was concluded without asking.

CREATE TABLE resolution_queue (
  question_id TEXT NOT NULL CHECK (question_id <> ''),
  kind        TEXT NOT NULL,
  subject     TEXT NOT NULL CHECK (json_valid(subject)),
  candidates  TEXT NOT NULL CHECK (json_valid(candidates)),
  detail      TEXT NOT NULL,
  known_from  TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  known_to    TEXT NOT NULL DEFAULT '9999-12-31T00:00:00.000000Z' CHECK (known_to GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_to, 1, 10) IS date(julianday(substr(known_to, 1, 10)))),
  CHECK (known_from < known_to),
  UNIQUE (question_id, known_from)
) STRICT;

CREATE TABLE resolution_log (
  subject    TEXT NOT NULL,
  sec_id     TEXT NOT NULL,
  rule       TEXT NOT NULL,
  detail     TEXT NOT NULL,
  known_from TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10))))
) STRICT;

-- Universe snapshots: what was published stays.

CREATE TABLE universe_snapshot (
  universe     TEXT NOT NULL CHECK (universe <> ''),
  mask_as_of   TEXT NOT NULL CHECK (mask_as_of IS date(julianday(mask_as_of))),
  rule_version TEXT NOT NULL CHECK (rule_version <> ''),
  input_hash   TEXT NOT NULL,
  members      INTEGER NOT NULL CHECK (members >= 0),
  known_from   TEXT NOT NULL CHECK (known_from GLOB '????-??-??T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
         AND substr(known_from, 1, 10) IS date(julianday(substr(known_from, 1, 10)))),
  PRIMARY KEY (universe, mask_as_of, rule_version)
) STRICT;

CREATE TABLE universe_membership (
  universe     TEXT NOT NULL,
  mask_as_of   TEXT NOT NULL,
  rule_version TEXT NOT NULL,
  sec_id       TEXT NOT NULL REFERENCES security (sec_id),
  rank         INTEGER NOT NULL,
  market_cap   REAL,
  status       TEXT NOT NULL CHECK (status IN ('in', 'buffer_in', 'out')),
  reason       TEXT NOT NULL,
  PRIMARY KEY (universe, mask_as_of, rule_version, sec_id),
  FOREIGN KEY (universe, mask_as_of, rule_version) REFERENCES universe_snapshot (universe, mask_as_of, rule_version)
    DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

-- A snapshot is written in one transaction: members first (the foreign key is deferred), the snapshot last, and then
-- it is closed.
CREATE TRIGGER universe_membership_closed BEFORE INSERT ON universe_membership
WHEN EXISTS (SELECT 1 FROM universe_snapshot s WHERE s.universe = NEW.universe AND s.mask_as_of = NEW.mask_as_of
             AND s.rule_version = NEW.rule_version)
BEGIN SELECT RAISE(ABORT, 'SNAPSHOT_PUBLISHED'); END;

-- Configuration of the classification and of the factor ETFs; one version each time the tables change.

CREATE TABLE taxonomy (
  taxonomy_version TEXT NOT NULL,
  position         INTEGER NOT NULL,
  fs_industry_code TEXT NOT NULL CHECK (fs_industry_code GLOB '[1-9][0-9][0-9][0-9]'),
  industry         TEXT NOT NULL,
  fs_sector_code   TEXT NOT NULL,
  sector           TEXT NOT NULL,
  sector_etf       TEXT NOT NULL,
  subsector_etf    TEXT NOT NULL,
  PRIMARY KEY (taxonomy_version, fs_industry_code)
) STRICT;

CREATE TABLE factor_etf (
  taxonomy_version TEXT NOT NULL,
  position         INTEGER NOT NULL,
  etf              TEXT NOT NULL CHECK (etf <> ''),
  role             TEXT NOT NULL CHECK (role IN ('market', 'sector', 'subsector')),
  first_session    TEXT NOT NULL CHECK (first_session = '' OR first_session IS date(julianday(first_session))),
  proxy            TEXT NOT NULL,
  PRIMARY KEY (taxonomy_version, etf)
) STRICT;

CREATE TRIGGER load_batch_no_update BEFORE UPDATE ON load_batch BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER load_batch_no_delete BEFORE DELETE ON load_batch BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER security_no_update BEFORE UPDATE ON security BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER security_no_delete BEFORE DELETE ON security BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER id_registry_no_update BEFORE UPDATE ON id_registry BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER id_registry_no_delete BEFORE DELETE ON id_registry BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER securities_row_no_update BEFORE UPDATE ON securities_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER securities_row_no_delete BEFORE DELETE ON securities_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER ticker_changes_row_no_update BEFORE UPDATE ON ticker_changes_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER ticker_changes_row_no_delete BEFORE DELETE ON ticker_changes_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER classification_row_no_update BEFORE UPDATE ON classification_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER classification_row_no_delete BEFORE DELETE ON classification_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER shares_row_no_update BEFORE UPDATE ON shares_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER shares_row_no_delete BEFORE DELETE ON shares_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER splits_row_no_update BEFORE UPDATE ON splits_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER splits_row_no_delete BEFORE DELETE ON splits_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER spin_offs_row_no_update BEFORE UPDATE ON spin_offs_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER spin_offs_row_no_delete BEFORE DELETE ON spin_offs_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER delistings_row_no_update BEFORE UPDATE ON delistings_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER delistings_row_no_delete BEFORE DELETE ON delistings_row BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER decision_no_update BEFORE UPDATE ON decision BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER decision_no_delete BEFORE DELETE ON decision BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER revision_no_update BEFORE UPDATE ON revision BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER revision_no_delete BEFORE DELETE ON revision BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER resolution_log_no_update BEFORE UPDATE ON resolution_log BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER resolution_log_no_delete BEFORE DELETE ON resolution_log BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER universe_snapshot_no_update BEFORE UPDATE ON universe_snapshot BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER universe_snapshot_no_delete BEFORE DELETE ON universe_snapshot BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER universe_membership_no_update BEFORE UPDATE ON universe_membership BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER universe_membership_no_delete BEFORE DELETE ON universe_membership BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER taxonomy_no_update BEFORE UPDATE ON taxonomy BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER taxonomy_no_delete BEFORE DELETE ON taxonomy BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER factor_etf_no_update BEFORE UPDATE ON factor_etf BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER factor_etf_no_delete BEFORE DELETE ON factor_etf BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER resolution_queue_append_only BEFORE UPDATE ON resolution_queue
WHEN NOT (OLD.known_to = '9999-12-31T00:00:00.000000Z' AND NEW.known_to < OLD.known_to AND NEW.question_id IS OLD.question_id
  AND NEW.kind IS OLD.kind AND NEW.subject IS OLD.subject AND NEW.candidates IS OLD.candidates
  AND NEW.detail IS OLD.detail AND NEW.known_from IS OLD.known_from)
BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
CREATE TRIGGER resolution_queue_no_delete BEFORE DELETE ON resolution_queue BEGIN SELECT RAISE(ABORT, 'APPEND_ONLY'); END;
