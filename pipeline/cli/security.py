"""`erm3 security`: building a master, and asking it who a ticker was, what was known then, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.console import (
    DAY,
    AsJson,
    Root,
    SourceName,
    SourcePath,
    commands,
    out,
    print_frame,
    print_json,
    print_row,
    records,
    settings_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from security_master import AmbiguousTicker, BuildReport, SecurityMaster, UnknownTicker

app = commands(
    """Who is who: permanent ids, tickers through time, and what was known when.

    `erm3 security build --source files --source-path DIR --root OUT` makes the master alone. The other commands read
    the master at OUT, or the one published with the stores there. Instants are UTC, like 2022-06-10T21:00:00Z."""
)

AsOf = Annotated[datetime, typer.Option("--as-of", formats=DAY, help="The date that the question is about.")]
Until = Annotated[datetime | None, typer.Option("--as-of", formats=DAY, help="Leave out what began after this date.")]
Known = Annotated[
    str | None, typer.Option("--known-as-of", help="Answer with what was known at this instant; all of it by default.")
]
Publication = Annotated[
    str | None, typer.Option(help="The master of an earlier publication (`erm3 history` lists them).")
]
SecId = Annotated[str, typer.Argument(metavar="SEC_ID", help="A permanent id, as `resolve` gives it.")]


@app.command()
def build(
    source: SourceName = None,
    source_path: SourcePath = None,
    root: Root = None,
    keep_ids: Annotated[
        bool, typer.Option("--keep-ids", help="Let known ids stand against identifiers that contradict them.")
    ] = False,
    max_lost: Annotated[float, typer.Option(help="Largest share of known ids that the source may not mention.")] = 0.01,
    as_json: AsJson = False,
) -> None:
    """Build the master alone from a source, on top of the one at --root if there is one.

    A source that would change a known id, or that has lost too many of them, stops the build; nothing is written then.
    """
    from pipeline.engine.master import batch_of, master_alone
    from pipeline.market_data.cleaning import clean_events
    from pipeline.market_data.delivery import master_of
    from pipeline.vendors.layers import open_source

    settings = settings_of(source=source, source_path=source_path, root=root)
    path = master_alone(settings.root)
    tables = clean_events(open_source(settings).load(), settings.rules.cleaning)
    report = master_of(
        path,
        tables,
        batch_of(settings.source, tables),
        previous=path if path.exists() else None,
        max_lost_share=max_lost,
        keep_ids=keep_ids,
    )
    _tell_build(report, path, as_json)


@app.command()
def resolve(
    ticker: Annotated[str, typer.Argument(help="In any spelling: BRK.B, BRK-B, brk/b.")],
    as_of: AsOf,
    root: Root = None,
    known_as_of: Known = None,
    exchange: Annotated[str | None, typer.Option(help="Where a ticker is used in several markets.")] = None,
    any_market: Annotated[bool, typer.Option("--any", help="Over-the-counter and when-issued lines too.")] = False,
    publication: Publication = None,
    as_json: AsJson = False,
) -> None:
    """The security that had a ticker on a date. Exit status 1 when the ticker is unknown or ambiguous."""
    from pipeline.read import published_directory
    from security_master import AmbiguousTicker, UnknownTicker

    asked = {"ticker": ticker, "as_of": f"{as_of:%Y-%m-%d}", "known_as_of": known_as_of}
    with published_directory(settings_of(root=root).root, publication) as directory:
        try:
            sec_id = directory.resolve(
                ticker, as_of, known_as_of=known_as_of, exchange=exchange, mode="any" if any_market else "regular"
            )
        except (UnknownTicker, AmbiguousTicker) as problem:
            if as_json:
                print_json(asked | {"sec_id": None, "status": _status(problem), **_details(problem)})
                raise typer.Exit(1) from None
            raise
        answer = asked | {"sec_id": sec_id, "status": "ok" if sec_id else "none"}
        if sec_id is not None:
            listed = directory.listed(sec_id, known_as_of)._asdict()
            shown = ("name", "sec_type", "exchange", "vendor_code", "first_session", "last_session")
            answer |= {name: listed[name] for name in shown}
    if as_json:
        print_json(answer)
    elif sec_id is None:
        out.print(f"Nobody had the ticker {ticker} on {as_of:%Y-%m-%d}{_known(known_as_of)}.")
    else:
        print_row({name: value for name, value in answer.items() if name != "status"})


@app.command()
def history(
    sec_id: SecId, as_of: Until = None, root: Root = None, known_as_of: Known = None, publication: Publication = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Tickers, listings, names, identifiers, classes and the end of a security, with dates on both clocks."""
    with opened(root, publication) as master:
        _emit(master.history(sec_id, as_of=as_of, known_as_of=known_as_of), as_json, known_as_of)


@app.command()
def lineage(
    sec_id: SecId, as_of: Until = None, root: Root = None, known_as_of: Known = None, publication: Publication = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Mergers and spin-offs to and from a security, with ratios."""
    with opened(root, publication) as master:
        _emit(master.lineage(sec_id, as_of=as_of, known_as_of=known_as_of), as_json, known_as_of)


@app.command()
def explain(
    ticker: Annotated[str, typer.Argument()],
    as_of: AsOf,
    root: Root = None,
    known_as_of: Known = None,
    publication: Publication = None,
    as_json: AsJson = False,
) -> None:
    """Why a ticker means what it means on a date: the rows that decide, and the evidence that they rest on."""
    with opened(root, publication) as master:
        steps = master.explain(ticker, as_of, known_as_of=known_as_of)
    if steps.empty and not as_json:
        out.print(f"No row gives {ticker} to anybody on {as_of:%Y-%m-%d}{_known(known_as_of)}.")
        return
    _emit(steps, as_json, known_as_of)


@app.command()
def changes(
    since: Annotated[str, typer.Option("--from", help="Instant, included.")],
    until: Annotated[str, typer.Option("--to", help="Instant, excluded.")],
    root: Root = None,
    publication: Publication = None,
    as_json: AsJson = False,
) -> None:
    """What the master learnt or withdrew between two instants."""
    with opened(root, publication) as master:
        _emit(master.changes(since, until), as_json, None)


@app.command()
def queue(
    root: Root = None, known_as_of: Known = None, publication: Publication = None, as_json: AsJson = False
) -> None:
    """Questions that the evidence leaves open. `decide` answers one."""
    with opened(root, publication) as master:
        questions = master.queue(known_as_of=known_as_of)
    if questions.empty and not as_json:
        out.print("No question is open.")
        return
    _emit(questions, as_json, known_as_of)


@app.command()
def decide(
    question: Annotated[str, typer.Argument(help="The question_id that `queue` shows.")],
    choice: Annotated[str, typer.Argument(help="A sec_id (it is that one), `new`, or `ignore`.")],
    by: Annotated[str, typer.Option(help="Who decides.")],
    reason: Annotated[str, typer.Option(help="What the decision rests on.")],
    known_from: Annotated[
        str | None, typer.Option(help="Instant from which the decision counts; by default that of this command.")
    ] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Answer an open question. The decision is kept like any other fact, and counts from its instant on."""
    from pipeline.engine.master import master_alone, publish_decision
    from pipeline.store.filesystem import open_publications
    from security_master import MASTER_FILE, IdentityDecision
    from security_master import decide as decide_in

    instant = known_from or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    same = choice not in ("new", "ignore")
    answer = IdentityDecision(question, "same" if same else choice, choice if same else "", by, reason, instant)
    batch_id = "decision-" + sha256(answer.content.encode()).hexdigest()[:12]
    where = settings_of(root=root).root
    if open_publications(where).manifest() is None:
        report = decide_in(master_alone(where), answer, batch_id=batch_id)
    else:
        report = publish_decision(where, answer, batch_id)
    _tell_build(report, Path(where) / MASTER_FILE, as_json)


@app.command()
def coverage(root: Root = None, as_json: AsJson = False) -> None:
    """By year: securities known, priced, classified, with share counts, and an estimate of those that are missing."""
    from pipeline.reports.security_coverage import coverage_report

    report = coverage_report(settings_of(root=root).root)
    if as_json:
        _emit(report, True, None)
    else:
        print_frame(report, ".3f")


@contextmanager
def opened(root: str | None, publication: str | None) -> Iterator[SecurityMaster]:
    """The master at a root: of a publication (the live one by default), or built alone."""
    from pipeline.read import published_master

    with published_master(settings_of(root=root).root, publication) as master:
        yield master


# -- printing -----------------------------------------------------------------------------------------------------


def _tell_build(report: BuildReport, path: Path, as_json: bool) -> None:
    if as_json:
        told = {
            "path": str(path),
            "build_id": report.build_id,
            "counts": report.counts,
            "new_rows": report.new_rows,
            "minted": list(report.minted),
            "lost": list(report.lost),
            "restated": report.restated,
            "unclassified": report.unclassified,
            "revisions": [vars(revision) for revision in report.revisions],
            "open_questions": [vars(question) for question in report.open_questions],
        }
        print_json(told)
        return
    out.print(f"{path}: build {report.build_id}")
    counted = ", ".join(f"{n:,} {name}" for name, n in report.counts.items())
    out.print(f"{counted}; {len(report.minted):,} new ids")
    for what, number in (
        ("known ids that the source does not mention any more", len(report.lost)),
        ("rows that replace others with the same known_from", len(report.revisions)),
        ("facts changed retroactively", report.restated),
        ("classification rows without a known industry", report.unclassified),
    ):
        if number:
            out.print(f"{number:,} {what}")
    if report.open_questions:
        out.print(f"{len(report.open_questions):,} questions are open: `erm3 security queue --root {path.parent}`")


def _emit(frame: pd.DataFrame, as_json: bool, known_as_of: str | None) -> None:
    if as_json:
        print_json({"known_as_of": known_as_of, "rows": records(frame)})
    else:
        print_frame(frame)


def _known(known_as_of: str | None) -> str:
    return "" if known_as_of is None else f", as known at {known_as_of}"


def _status(problem: UnknownTicker | AmbiguousTicker) -> str:
    from security_master import UnknownTicker

    return "unknown" if isinstance(problem, UnknownTicker) else "ambiguous"


def _details(problem: UnknownTicker | AmbiguousTicker) -> dict[str, Any]:
    from security_master import UnknownTicker

    if isinstance(problem, UnknownTicker):
        return {"nearest": list(problem.nearest)}
    return {"candidates": list(problem.candidates), "detail": str(problem)}
