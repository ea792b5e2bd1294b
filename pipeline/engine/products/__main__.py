"""`python -m pipeline.engine.products`: writes docs/contract/*.json and the tables of docs/datasets.md anew."""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets.contract import contract_files, with_tables
from pipeline.engine.products import catalog

DOCS = Path(__file__).parents[3] / "docs"


def main() -> None:
    folder = DOCS / "contract"
    folder.mkdir(exist_ok=True)
    specs = list(catalog().values())
    files = contract_files(specs)
    for name, text in files.items():
        (folder / name).write_text(text)
    for old in folder.glob("*.json"):
        if old.name not in files:
            old.unlink()
    page = DOCS / "datasets.md"
    page.write_text(with_tables(page.read_text(), specs))


if __name__ == "__main__":
    main()
