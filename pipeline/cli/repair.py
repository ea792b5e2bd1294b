"""`erm3 repair`: what was lost of a root, and what can be put back."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.console import Root, out, settings_of


def repair(
    root: Root = None,
    take_from: Annotated[
        str | None,
        typer.Option("--from", help="Another root to take whole objects from, e.g. a copy or a second backfill."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this nothing is changed.")] = False,
) -> None:
    """Say what is lost or damaged in a root and where a whole copy is; with --apply put it back.

    Copies come from the spares of the publication, from other publications, and from the root of --from; only those
    with the published digest are taken. Nothing is deleted: what was never published is set aside. Exit status 1 while
    something is wrong.
    """
    from pipeline.store.filesystem import open_publications
    from pipeline.store.objects import StoreError
    from pipeline.store.repair import examine
    from pipeline.store.repair import repair as put_back

    publications = open_publications(settings_of(root=root).root)
    other = None if take_from is None else open_publications(take_from)
    where = publications.objects.url
    if not publications.objects.children(""):
        raise StoreError(f"nothing is published under {where}, and nothing else is there: name the right --root")
    if not apply:
        steps = examine(publications, other)
        for step in steps:
            out.print(f"{step.what}: {step.how or 'no whole copy is at hand'}")
        if not steps:
            out.print(f"Nothing of what is published in {where} is lost or damaged.")
        elif any(step.how for step in steps):
            out.print("Nothing was changed. Once more with --apply, this is done.")
        raise typer.Exit(1 if steps else 0)
    done, left = put_back(publications, other)
    for step in done:
        out.print(f"{step.what}: {step.how}: done")
    for what in left:
        out.print(f"{what}: no whole copy is at hand")
    if left:
        out.print(
            "Restore these objects from a backup, or publish the same sessions from the same deliveries into a new "
            f"root (erm3 backfill --root NEW) and take them there: erm3 repair --root {where} --from NEW --apply"
        )
    else:
        out.print(f"All of what is published in {where} is whole.")
    raise typer.Exit(1 if left else 0)
