"""Text from outside is text: on the terminal, in HTML and in Markdown, and refused where a source delivers it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.table import Table
from rich.text import Text

from pipeline.cli.console import _Plain
from pipeline.outside.visible import first_unseen, in_html, in_markdown, visible
from pipeline.reports.quality_report import _html_table
from pipeline.sources import FilesSource, SourceError
from tests.sources.conftest import directory, spoil  # noqa: F401 (fixtures)

NASTY = ["[/red]", "[b]x", "\x1b[2J", "\x1b]8;;http://a.example\x1b\\link\x1b]8;;\x1b\\", "a\u202eb", "\x07", "\udcff"]
UNSEEN = {"escape": "\x1b[31m", "link": "\x1b]8;;x\x07", "turned": "a\u202eb", "zero width": "a\u200bb", "del": "\x7f"}
SEEN = ["Société Générale", "株式会社", "AT&T <Inc>", "no\u00a0break", "[/red]", "E*TRADE"]


@pytest.mark.parametrize("text", NASTY)
def test_a_terminal_is_shown_text_and_obeys_none_of_it(text: str) -> None:
    told = io.StringIO()
    console = _Plain(file=told, force_terminal=True, width=200)
    table = Table("column", box=None)
    table.add_row(text)
    for one in (text, Text.assemble((text, "red")), table):
        console.print(one)
    shown = told.getvalue().replace("\x1b[31m", "").replace("\x1b[0m", "").replace("\x1b[1m", "")
    assert first_unseen(shown.replace("\n", "")) is None
    assert shown.count(visible(text)) >= 2  # a styled text drops a bell without a word


@pytest.mark.parametrize("text", SEEN)
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert visible(text) == text
    assert first_unseen(text) is None


def test_html_shows_what_markup_would_hide_and_no_text_is_cut() -> None:
    text = "<script>alert(1)</script> & \x1b \u202e" + "long " * 40 + "end"
    page = _html_table(pd.DataFrame({"evidence": [text], "value": [1.5]}))
    assert "<script>" not in page
    assert in_html(text) in page
    assert "\\u202e" in page


def test_markdown_shows_what_it_would_format() -> None:
    assert in_markdown("[a](http://b) `c` *d* <e>\n# f") == r"\[a\]\(http://b\) \`c\` \*d\* \<e\> \# f"


@pytest.mark.parametrize("text", UNSEEN.values(), ids=UNSEEN)
@pytest.mark.parametrize(
    ("table", "column", "old", "row"), [("securities", "name", "Beta", 3), ("prices", "vendor_code", "BBB", 5)]
)
def test_a_cell_with_what_nobody_can_see_is_refused(
    spoil: Callable[[str, str, str], Path],  # noqa: F811
    text: str,
    table: str,
    column: str,
    old: str,
    row: int,
) -> None:
    with pytest.raises(SourceError, match="which nobody can see") as refused:
        FilesSource(spoil(table, old, old + text)).load()
    error = refused.value
    assert (error.file, error.row, error.column) == (f"{table}.csv", row, column)
    assert first_unseen(str(error)) is None


@pytest.mark.parametrize("text", SEEN)
def test_a_cell_that_can_be_seen_passes(spoil: Callable[[str, str, str], Path], text: str) -> None:  # noqa: F811
    assert text in set(FilesSource(spoil("securities", "Beta", text)).load().securities["name"])
