"""Text from outside is text: what a terminal, a browser or Markdown would obey is shown, not obeyed.

A vendor's cells, names of files and settings reach people through the command line, the HTML report and Dagster's
pages. A source refuses what nobody can see (`first_unseen`); each face escapes what it prints, wherever it came from.
"""

from __future__ import annotations

import html
import re
from unicodedata import category

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Controls (the escape that begins a colour or a link), formats (marks that turn text round, zero widths), halves of
pairs (bytes of a file's name that are no UTF-8), separators of lines and paragraphs."""

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>&])")


def first_unseen(text: str) -> str | None:
    """The first character that cannot be seen, written as an escape such as `\\x1b`; None when there is none.

    Tabs and ends of lines are text: a quoted cell may have them.
    """
    if text.isprintable():  # nearly every text, and fast; a no-break space is not printable, but can be seen
        return None
    return next((_escape(c) for c in text if category(c) in _UNSEEN and c not in "\t\r\n"), None)


def visible(text: str) -> str:
    """The text with an escape in place of each character that cannot be seen; tabs and new lines stay."""
    if text.isprintable():
        return text
    return "".join(_escape(c) if category(c) in _UNSEEN and c not in "\n\t" else c for c in text)


def in_html(text: str) -> str:
    """The text as the content of an HTML element or attribute."""
    return html.escape(visible(text))


def in_markdown(text: str) -> str:
    """The text as words of a paragraph of Markdown, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(visible(text).split()))


def _escape(c: str) -> str:
    return c.encode("unicode_escape", "surrogatepass").decode("ascii")
