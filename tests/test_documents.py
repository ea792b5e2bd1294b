"""Documents say what is so: their paths, links, names and commands exist, and their lines can be read."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
COLUMNS = 100
PATH = re.compile(r"(?:assets|deploy|docs|pipeline|security_master|tests)/[\w*./-]*")
NAME = re.compile(r"(?:assets|pipeline|security_master)(?:\.\w+)+")
BESIDE = ("", "pipeline", "pipeline/sources", "pipeline/quality", "security_master/data")
"""Where a document may mean a file without saying its folder."""


@pytest.fixture(params=DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def document(request: pytest.FixtureRequest) -> Path:
    return request.param


def code(text: str) -> list[str]:
    """Code spans, and the lines of code blocks."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.M | re.S)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [re.sub(r"\s+", " ", span) for span in spans] + [line for block in blocks for line in block.splitlines()]


def prose_lines(text: str) -> Iterator[tuple[int, str]]:
    """All lines but those of tables, which cannot be wrapped."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("|"):
            yield number, line


def test_lines_are_wrapped(document: Path) -> None:
    long = [number for number, line in prose_lines(document.read_text()) if len(line) > COLUMNS]
    assert not long, f"{document.name}: wrap lines {long} at {COLUMNS} columns"


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 60


def test_the_readme_quotes_the_measured_seconds() -> None:
    quoted = re.findall(r"([\d,]+)\s+processor\s+seconds", (ROOT / "README.md").read_text())
    measured = re.search(r"\| \*\*processor seconds\*\* \| \*\*([\d,]+)", (ROOT / "docs/benchmarks.md").read_text())
    assert measured is not None
    assert quoted == [measured[1]]


def test_files_and_folders_exist(document: Path) -> None:
    spans = code(document.read_text())
    paths = [match.rstrip(".") for span in spans for match in PATH.findall(span)]
    paths += [span for span in spans if re.fullmatch(r"[\w*]+\.(py|csv|sql|toml|txt)", span)]
    made = {"erm3.toml"}
    missing = [path for path in paths if path not in made and not any(list((ROOT / b).glob(path)) for b in BESIDE)]
    assert not missing


def test_names_of_modules_functions_and_classes_resolve(document: Path) -> None:
    for name in {match for span in code(document.read_text()) for match in NAME.findall(span)}:
        if not name.endswith((".py", ".csv", ".sql", ".sqlite")):
            assert resolves(name), f"{document.name}: there is no {name}"


def resolves(name: str) -> bool:
    module, _, attributes = name, "", list[str]()
    while True:
        try:
            found: object = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            attributes.insert(0, last)
            if not module:
                return False
    for attribute in attributes:
        if not hasattr(found, attribute):
            return False
        found = getattr(found, attribute)
    return True


def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            place = (document.parent / path) if path else document
            assert place.exists(), target
            assert not anchor or anchor in anchors(place.read_text()), target


def anchors(text: str) -> set[str]:
    """The anchors of headings, as pages of repositories make them."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    said = {word for span in code(document.read_text()) for word in re.findall(r"^make ([a-z-]+)", span)}
    assert said <= targets


def test_commands_and_their_options_exist(document: Path) -> None:
    from pipeline.cli.runs import app

    for span in code(document.read_text()):
        words = span.partition("#")[0].removeprefix("podman run ").split()
        if words[:1] == ["erm3"] and len(words) > 1 and re.fullmatch(r"[a-z]+", words[1]):
            command: Any = get_command(app)
            rest = words[1:]
            while hasattr(command, "commands") and rest and re.fullmatch(r"[a-z]+", rest[0]):
                assert rest[0] in command.commands, f"{document.name}: there is no `{span}`"
                command = command.commands[rest.pop(0)]
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            options = {word.strip("[]").partition("=")[0] for word in rest if word.strip("[").startswith("--")}
            assert options <= known | {"--help"}, f"{document.name}: `{span}` has an option that does not exist"


def test_every_command_of_make_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.M)
    explained = re.findall(r"^([a-z-]+):.*## \S", makefile, re.M)
    assert sorted(phony.split()) == sorted(explained)
