"""The answers of an archive of filings in the style of EDGAR."""

from __future__ import annotations

import datetime as dt
import json
import re
from functools import lru_cache
from typing import Any, NamedTuple

from pipeline.fake_vendor.eodhd import Answer
from pipeline.fake_vendor.faults import NEW_YORK, NOTES_ACCESSION
from pipeline.fake_vendor.market import Company, FakeMarket, each

NO_SUCH_KEY = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchKey</Code></Error>"
PROVISIONS = {
    "merger": "(a)(3)",
    "exchange_drop": "(b)",
    "voluntary": "(c)",
    "bankruptcy": "(b)",
    "liquidation": "(a)(3)",
}
SIC_OF = {"1110": "1311", "2510": "7372", "4110": "2836", "4120": "2834", "3210": "3674", "6010": "6798"}


class Filed(NamedTuple):
    """One filing. accepted: aware UTC."""

    company: Company
    accession: str
    form: str
    accepted: dt.datetime
    period: dt.date | None
    shares: int


def answer(market: FakeMarket, clock: dt.datetime, path: str) -> Answer:
    """The answer to one request at an instant."""
    if path == "/files/company_tickers.json":
        rows = [
            {"cik_str": int(c.cik), "ticker": c.ticker_on(clock.date()).replace(".", "-"), "title": c.name}
            for c in market.living(clock)
            if c.cik
        ]
        return Answer(200, json.dumps({str(k): row for k, row in enumerate(rows)}).encode())
    if found := re.fullmatch(r"/submissions/CIK(\d{10})\.json", path):
        return _submissions(market, clock, found.group(1))
    if found := re.fullmatch(r"/api/xbrl/companyfacts/CIK(\d{10})\.json", path):
        return _facts(market, clock, found.group(1))
    if found := re.fullmatch(r"/Archives/edgar/daily-index/\d{4}/QTR\d/form\.(\d{8})\.idx", path):
        return _index(market, clock, dt.date.fromisoformat(found.group(1)))
    if found := re.fullmatch(r"/Archives/edgar/data/(\d+)/(\d{18})/([\w.-]+)", path):
        return _document(market, clock, found.group(1).zfill(10), found.group(2))
    return Answer(404, NO_SUCH_KEY, "application/xml")


@lru_cache(maxsize=4)
def _all(market: FakeMarket) -> dict[str, list[Filed]]:
    """By CIK every filing there will ever be, in the order of acceptance."""
    found: dict[str, list[Filed]] = {}
    for company in market.companies:
        if not company.cik:
            continue
        own = [
            Filed(company, "", "10-Q", _utc(row.filed_at), row.period_end.date(), int(row.shares))
            for row in each(company.shares)
        ]
        if company.last is not None and company.delisting:
            removed = dt.datetime.combine(company.last + dt.timedelta(days=1), dt.time(14), NEW_YORK)
            own.append(Filed(company, "", "25-NSE", removed.astimezone(dt.UTC), None, 0))
        found.setdefault(company.cik, []).extend(own)
    for cik, filings in found.items():
        filings.sort(key=lambda filed: (filed.accepted, filed.company.key))
        seen: dict[str, int] = {}
        for k, filed in enumerate(filings):
            known = seen.get(f"{filed.company.key} {filed.period}", 0) if filed.period else 0
            seen[f"{filed.company.key} {filed.period}"] = known + 1
            form = f"{filed.form}/A" if known and filed.form == "10-Q" else filed.form
            filings[k] = filed._replace(accession=f"{cik}-{filed.accepted:%y}-{k:06d}", form=form)
    return found


def _shown(market: FakeMarket, clock: dt.datetime, cik: str) -> list[Filed]:
    return [filed for filed in _all(market).get(cik, []) if filed.accepted <= clock]


def _classes(market: FakeMarket, cik: str) -> bool:
    return len({filed.company.key for filed in _all(market).get(cik, [])}) > 1


def _submissions(market: FakeMarket, clock: dt.datetime, cik: str) -> Answer:
    filings = _shown(market, clock, cik)[::-1]
    if not filings:
        return Answer(404, NO_SUCH_KEY, "application/xml")
    company = filings[0].company
    recent = {
        "accessionNumber": [f.accession for f in filings],
        "filingDate": [str(_filed_on(f)) for f in filings],
        "reportDate": [str(f.period or "") for f in filings],
        "acceptanceDateTime": [f"{_local(f):%Y-%m-%dT%H:%M:%S}.000Z" for f in filings],  # New York's clock
        "form": [f.form for f in filings],
        "primaryDocument": ["cover.htm" if f.form.startswith("10-Q") else "primary_doc.xml" for f in filings],
    }
    value = {
        "cik": cik,
        "sic": SIC_OF.get(company.industry, "3560"),
        "sicDescription": "",
        "name": company.name,
        "tickers": [company.ticker_on(clock.date()).replace(".", "-")],
        "exchanges": [company.exchange],
        "formerNames": [],
        "filings": {"recent": recent, "files": []},
    }
    return Answer(200, json.dumps(value).encode())


def _facts(market: FakeMarket, clock: dt.datetime, cik: str) -> Answer:
    filings = [filed for filed in _shown(market, clock, cik) if filed.period is not None]
    if not filings:
        return Answer(404, NO_SUCH_KEY, "application/xml")
    rows: list[dict[str, Any]] = [
        {"end": str(f.period), "val": f.shares, "accn": f.accession, "fy": None, "fp": None, "form": f.form,
         "filed": str(_filed_on(f))}
        for f in filings
    ]  # fmt: skip
    units = {} if _classes(market, cik) else {"EntityCommonStockSharesOutstanding": {"units": {"shares": rows}}}
    value = {"cik": int(cik), "entityName": filings[0].company.name, "facts": {"dei": units}}
    return Answer(200, json.dumps(value).encode())


def _index(market: FakeMarket, clock: dt.datetime, day: dt.date) -> Answer:
    rows = [
        (filed.form, filed.company.name, cik, filed)
        for cik, filings in sorted(_all(market).items())
        for filed in filings
        if filed.accepted <= clock and _filed_on(filed) == day
    ]
    if not rows and day.weekday() >= 5:
        return Answer(404, NO_SUCH_KEY, "application/xml")
    lines = ["Description:           Daily Index of EDGAR Dissemination Feed by Form Type", "",
             f"{'Form Type':<12}{'Company Name':<62}{'CIK':<12}{'Date Filed':<12}File Name", "-" * 140]  # fmt: skip
    for form, name, cik, filed in rows:
        path = f"edgar/data/{int(cik)}/{filed.accession}.txt"
        lines.append(f"{form:<12}{name:<62}{int(cik)!s:<12}{_local(filed):%Y%m%d}    {path}")
    return Answer(200, "\n".join(lines).encode() + b"\n", "text/plain")


def _document(market: FakeMarket, clock: dt.datetime, cik: str, folder: str) -> Answer:
    accession = f"{folder[:10]}-{folder[10:12]}-{folder[12:]}"
    filings = _shown(market, clock, cik)
    if accession == NOTES_ACCESSION and filings:
        page = _removal_page(filings[-1], accession, "3.85% Notes due 2043", "(a)(2)", "")
        return Answer(200, page.encode(), "text/html")
    filed = next((f for f in filings if f.accession == accession), None)
    if filed is None:
        return Answer(404, NO_SUCH_KEY, "application/xml")
    page = _removal(market, filed) if filed.form == "25-NSE" else _cover(filed)
    return Answer(200, page.encode(), "text/html")


def _cover(filed: Filed) -> str:
    """A cover with one class and its symbol."""
    symbol = filed.company.ticker_on(_local(filed).date())
    axis = 'dimension="us-gaap:StatementClassOfStockAxis"'
    member = f"<xbrldi:explicitMember {axis}>us-gaap:CommonClassXMember</xbrldi:explicitMember>"
    return (
        f'<html><xbrli:context id="c-1"><xbrli:entity><xbrli:segment>{member}</xbrli:segment></xbrli:entity>'
        f"<xbrli:period><xbrli:instant>{filed.period}</xbrli:instant></xbrli:period></xbrli:context>"
        f'<ix:nonNumeric contextRef="c-1" name="dei:TradingSymbol" id="f-1">{symbol}</ix:nonNumeric>'
        f'<ix:nonFraction unitRef="shares" contextRef="c-1" name="dei:EntityCommonStockSharesOutstanding" '
        f'scale="0" id="f-2">{filed.shares:,}</ix:nonFraction></html>'
    )


def _removal(market: FakeMarket, filed: Filed) -> str:
    gone, last = filed.company.delisting, filed.company.last
    assert last is not None
    after = last + dt.timedelta(days=1)
    terms = []
    if gone.get("cash") == gone.get("cash"):
        terms.append(f"USD {gone['cash']:.6g}")
    if gone.get("successor_code"):
        code = gone["successor_code"]
        heir = next(c for c in market.companies if code in (c.tickers[0][1], c.ticker_on(last)))
        terms.append(f"{gone['successor_ratio']:.6g} of a share of {heir.name} Common Stock")
    said = f"Each share of common stock was exchanged for {' and '.join(terms)}. " if terms else ""
    said += f"The Exchange also notifies that this security was suspended from trading on {after:%B} {after.day}, "
    provision = PROVISIONS.get(str(gone.get("reason")), "")
    return _removal_page(filed, filed.accession, "Common Stock", provision, f"{said}{after.year}.")


def _removal_page(filed: Filed, accession: str, description: str, provision: str, exhibit: str) -> str:
    local = _local(filed)
    return f"""<SEC-DOCUMENT>{accession}.txt : {local:%Y%m%d}
<SEC-HEADER>
<ACCEPTANCE-DATETIME>{local:%Y%m%d%H%M%S}
FILED AS OF DATE:		{local:%Y%m%d}
</SEC-HEADER>
<notificationOfRemoval>
    <issuer><cik>{int(filed.company.cik)}</cik><entityName>{filed.company.name}</entityName></issuer>
    <descriptionClassSecurity>{description}</descriptionClassSecurity>
    <ruleProvision>17 CFR 240.12d2-2{provision}</ruleProvision>
</notificationOfRemoval>
{exhibit}
</SEC-DOCUMENT>
"""


def _filed_on(filed: Filed) -> dt.date:
    """The filing date: on a weekend it is Monday's."""
    day = _local(filed).date()
    return day + dt.timedelta(days=max(7 - day.weekday(), 0) if day.weekday() >= 5 else 0)


def _utc(filed_at: Any) -> dt.datetime:
    found: dt.datetime = filed_at.to_pydatetime()
    return found.replace(tzinfo=dt.UTC)


def _local(filed: Filed) -> dt.datetime:
    return filed.accepted.astimezone(NEW_YORK)
