"""`python -m pipeline.datasets`: writes docs/contract/*.json and the tables of docs/datasets.md anew."""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets.contract import contract_files, with_tables

DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    folder = DOCS / "contract"
    folder.mkdir(exist_ok=True)
    files = contract_files()
    for name, text in files.items():
        (folder / name).write_text(text)
    for old in folder.glob("*.json"):
        if old.name not in files:
            old.unlink()
    page = DOCS / "datasets.md"
    page.write_text(with_tables(page.read_text()))


if __name__ == "__main__":
    main()
