"""The directory of tickers: who had one on a date, and what is listed there; answered without pandas."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

from security_master import resolution
from security_master.dates import BEGINNING, END
from security_master.errors import ExplainedError
from security_master.resolution import Mode
from security_master.store import BELIEVED, Store, instant_or_newest


class UnknownSecurity(ExplainedError, LookupError):
    """A sec_id that the master does not hold."""


class Listed(NamedTuple):
    """A security by its last listing. first_session, last_session: ISO dates, None while unknown."""

    sec_id: str
    name: str
    sec_type: str
    currency: str
    exchange: str
    vendor_code: str
    first_session: str | None
    last_session: str | None


class Span(NamedTuple):
    """A stretch in which a security had a ticker or a name: dates as ISO text, valid_from <= date < valid_to.

    kind: how it traded (`regular`, `otc`, `when_issued`) for a ticker, what it is (`common`, `etf`, ...) for a name.
    """

    sec_id: str
    text: str
    kind: str
    valid_from: str
    valid_to: str


class Industry(NamedTuple):
    """A row of the taxonomy in force; the ETFs are "" where there is none."""

    code: int
    name: str
    sector_code: int
    sector: str
    sector_etf: str
    subsector_etf: str


class TickerDirectory:
    """An open master, asked for names only. SecurityMaster answers everything else too.

    Answers are about a date (`as_of`, always stated) as far as known at an instant (`known_as_of`, an aware datetime,
    ISO text with a zone or a numpy datetime in UTC; None: all that the master knows).
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a master for reading. Raises MasterNotFound, SchemaVersionError."""
        return cls(Store(Path(path)))

    def moved_to(self, path: Path | str) -> Self:
        """The master in another file, open for reading. Where it says the same, what was read of this one is not read
        again; universes are those of the file."""
        other = self.open(path)
        if other.build_id == self.build_id:
            other._store.share(self._store)
        return other

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def build_id(self) -> str:
        """Hash of what this master says, 16 hex digits; the stores keep it."""
        return self._store.meta("build_id")

    def resolve(
        self,
        ticker: str,
        as_of: Any,
        *,
        known_as_of: Any = None,
        exchange: str | None = None,
        mode: Mode = "regular",
    ) -> str | None:
        """The sec_id of the security that had a ticker on a date, None when nobody had it.

        ticker: in any spelling (BRK.B, BRK-B, brk/b). exchange: where a ticker is used in several markets. mode 'any'
        includes over-the-counter and when-issued lines. Raises AmbiguousTicker with the candidates, UnknownTicker with
        the nearest spellings when nobody is known ever to have had it, NotADate.

        >>> from security_master.example import example_master
        >>> master = example_master()
        >>> master.resolve("META", "2022-06-09") == master.resolve("fb", "2022-06-08")
        True
        >>> master.resolve("FB", "2022-06-09") is None
        True
        >>> master.resolve("FBB", "2022-06-09")
        Traceback (most recent call last):
        security_master.resolution.UnknownTicker: no security is known to have had the ticker 'FBB'; did you mean FB?
        """
        return resolution.resolve(self._store, ticker, as_of, known_as_of, exchange, mode)

    def listed(self, sec_id: str, known_as_of: Any = None) -> Listed:
        """Name, type and place of a security's last listing, and its first and last session.

        Raises UnknownSecurity, also for one that was not known by `known_as_of`.

        >>> from security_master.example import example_master
        >>> master = example_master()
        >>> listed = master.listed(master.resolve("FB", "2020-01-02"))
        >>> listed.name, listed.exchange, listed.first_session, listed.last_session
        ('Meta Platforms Inc', 'NASDAQ', '2012-05-18', None)
        """
        rows = self._store.rows(
            "SELECT name, sec_type, currency, exchange, vendor_code, valid_from, valid_to FROM listing "
            f"WHERE sec_id = :sec_id AND {BELIEVED} ORDER BY valid_from",
            sec_id=sec_id,
            known=instant_or_newest(known_as_of),
        )
        if not rows:
            raise UnknownSecurity(f"no security {sec_id!r} in {self._store.path}; `resolve` gives ids from tickers")
        name, sec_type, currency, exchange, code, _, end = rows[-1]
        first = rows[0][-2]
        last = None if end == END else (date.fromisoformat(end) - timedelta(days=1)).isoformat()
        return Listed(sec_id, name, sec_type, currency, exchange, code, None if first == BEGINNING else first, last)

    # -- all of it, for who keeps it in memory --------------------------------------------------------------------

    def tickers(self, known_as_of: Any = None) -> list[Span]:
        """Who had which ticker when, by (valid_from, sec_id).

        >>> from security_master.example import example_master
        >>> [span[1:] for span in example_master().tickers() if span.text in ("FB", "META")][:2]
        [('FB', 'regular', '2012-05-18', '2022-06-09'), ('META', 'regular', '2022-06-09', '9999-12-31')]
        """
        query = f"SELECT sec_id, ticker, trading_mode, valid_from, valid_to FROM ticker_map WHERE {BELIEVED}"
        return self._spans(query, known_as_of)

    def names(self, known_as_of: Any = None) -> list[Span]:
        """Who was called what when, by (valid_from, sec_id)."""
        return self._spans(
            f"SELECT sec_id, name, sec_type, valid_from, valid_to FROM listing WHERE {BELIEVED}", known_as_of
        )

    def contests(self, known_as_of: Any = None) -> list[resolution.Contest]:
        """Tickers that several securities claim at once, and none has."""
        return resolution.contests(self._store, instant_or_newest(known_as_of))

    def industries(self) -> list[Industry]:
        """The taxonomy in force, in its own order."""
        rows = self._store.rows(
            "SELECT fs_industry_code, industry, fs_sector_code, sector, sector_etf, subsector_etf FROM taxonomy "
            "WHERE taxonomy_version = (SELECT value FROM meta WHERE key LIKE 'taxonomy_%' ORDER BY key DESC LIMIT 1) "
            "ORDER BY position"
        )
        return [Industry(int(code), name, int(sector), *rest) for code, name, sector, *rest in rows]

    def _spans(self, query: str, known_as_of: Any) -> list[Span]:
        rows = self._store.rows(f"{query} ORDER BY valid_from, sec_id", known=instant_or_newest(known_as_of))
        return [Span(*row) for row in rows]
