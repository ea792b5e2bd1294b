"""The private parts of libraries that this project stands on: which, why, and that they are as they were read.

`assets.event_log` derives from Dagster's storages, which Dagster does not export. There is no public way to the same
end: its SQLite storage opens, commits and closes two databases for every event, its PostgreSQL storage plans a check of
a range run with a row for each session (figures: `python -m tests.bench.event_log`, docs/operations.md). So Dagster's
minor version is pinned, and these tests fail when anything changes that the derived classes call, override or repeat.
Then read the new code of Dagster, see whether `assets/event_log.py` still does the same, and bring READ up to date.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

REPOSITORY = Path(__file__).parents[2]
VERSIONS = "dagster>=1.13,<1.14"

ALLOWED = {
    ("assets/event_log.py", "dagster._core.events"): "which events Dagster indexes by asset",
    ("assets/event_log.py", "dagster._core.storage.event_log"): "the event logs that the batched one derives from",
    ("assets/event_log.py", "dagster._core.storage.sqlite_storage"): "the storage that holds the event log",
    ("tests/assets/test_event_log.py", "dagster._core.events"): "an event made by hand, to store it in a batch",
    ("tests/assets/test_event_log.py", "dagster._core.storage.event_log"): "Dagster's own event log, to compare with",
    ("tests/assets/test_private_parts.py", "dagster._core.events"): "pinned here",
    ("tests/assets/test_private_parts.py", "dagster._core.storage.event_log"): "pinned here",
    ("tests/assets/test_private_parts.py", "dagster._core.storage.sqlite_storage"): "pinned here",
}
"""File and private module -> what it is imported for."""

CALLED: dict[Callable[..., Any], str] = {
    SqlEventLogStorage.prepare_insert_event: "self event",
    SqlEventLogStorage.index_transaction: "self",
    SqliteEventLogStorage.run_connection: "self run_id",
    DagsterSqliteStorage.__init__: "self base_dir inst_data",
    DagsterSqliteStorage.from_local: "base_dir inst_data",
    DagsterSqliteStorage.from_config_value: "inst_data config_value",
}
"""What is called or overridden, and the names of its arguments."""

READ: dict[Callable[..., Any], str] = {
    SqliteEventLogStorage.store_event: "7c272f2987ae2d97",
    SqliteEventLogStorage.store_event_batch: "09d43f9c4a7f006a",
    SqlEventLogStorage._store_asset_event: "d575dd4cd9d82c75",
    SqlEventLogStorage._store_asset_event_tags: "40508d6663f8ca0a",
    SqlEventLogStorage._store_asset_check_evaluation_planned: "75d814256d195b3c",
}
"""What is repeated for many events at once, or done differently: its fingerprint when it was last read."""


def private_imports(root: Path) -> Iterator[tuple[str, str]]:
    """File and module of each import of a private module or name of another project."""
    for folder in ("assets", "pipeline", "security_master", "tests"):
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                for module, name in _imported(node):
                    private = [part for part in f"{module}.{name}".split(".") if part.startswith("_")]
                    ours = module.partition(".")[0] in ("assets", "pipeline", "security_master", "tests", "__future__")
                    if private and not ours:
                        yield path.relative_to(root).as_posix(), module


def _imported(node: ast.AST) -> list[tuple[str, str]]:
    if isinstance(node, ast.ImportFrom) and node.module:
        return [(node.module, alias.name) for alias in node.names]
    return [(alias.name, "") for alias in node.names] if isinstance(node, ast.Import) else []


def fingerprint(function: Callable[..., Any]) -> str:
    """Hash of a function's code; comments, docstrings and layout do not count."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]


def test_no_other_private_module_of_a_library_is_imported():
    assert set(private_imports(REPOSITORY)) == set(ALLOWED)


def test_an_import_of_a_private_module_is_found(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "new.py").write_text("def f():\n    from numpy._core import umath\n")
    assert list(private_imports(tmp_path)) == [("assets/new.py", "numpy._core")]


@pytest.mark.parametrize("function", CALLED, ids=lambda function: function.__qualname__)
def test_what_is_called_takes_the_arguments_that_it_is_given(function):
    assert " ".join(inspect.signature(function).parameters) == CALLED[function], __doc__


@pytest.mark.parametrize("function", READ, ids=lambda function: function.__qualname__)
def test_what_is_repeated_is_as_it_was_read(function):
    assert fingerprint(function) == READ[function], __doc__


def test_a_changed_line_is_seen_and_a_comment_is_not():
    def one(x: int) -> int:
        """A docstring."""
        return x + 1  # a comment

    first = fingerprint(one)

    def one(x: int) -> int:  # type: ignore[no-redef]
        return x + 1

    assert fingerprint(one) == first

    def one(x: int) -> int:  # type: ignore[no-redef]
        return x + 2

    assert fingerprint(one) != first


def test_the_events_that_are_batched_are_of_the_kinds_that_were_read():
    assert {kind.value for kind in ASSET_EVENTS} == {
        "ASSET_FAILED_TO_MATERIALIZE",
        "ASSET_MATERIALIZATION",
        "ASSET_MATERIALIZATION_PLANNED",
        "ASSET_OBSERVATION",
        "FRESHNESS_STATE_CHANGE",
    }, __doc__


def test_the_minor_version_of_dagster_is_pinned_to_the_one_that_was_read():
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    assert VERSIONS in declared
    assert version("dagster").split(".")[:2] == ["1", "13"], __doc__
