"""The contract as text: docs/contract/*.json and the tables of docs/datasets.md, made from the specs.

`python -m pipeline.engine.products` writes them; a test compares, so that a change of the contract is a diff to review.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.datasets.metadata import consolidated, render_metadata
from pipeline.datasets.return_flags import MEANINGS
from pipeline.datasets.spec import ArraySpec, DatasetSpec
from pipeline.settings import DataRules, ModelParameters, parameter_attributes

STORE_ATTRIBUTES = ("created_utc", "updated_utc", "run_id")
RUN_ATTRIBUTES = (
    "institution",
    "source",
    "not_delivered",
    "security_master_build",
    "code_version",
    *parameter_attributes(ModelParameters(), DataRules()),
)
COMMON_COORDINATES = ("teo", "symbol", "ticker", "unique_ticker", "level")
BEGIN, END = "<!-- made by python -m pipeline.engine.products -->", "<!-- end -->"


def contract_files(specs: Iterable[DatasetSpec]) -> dict[str, str]:
    """File names and texts of docs/contract: the consolidated metadata of every store.

    Sizes that depend on the data stand as the name of their dimension (chunks that do as "rows" and "columns"),
    attributes that depend on the run as `<name>`, open codes as declared.
    """
    return {f"{spec.name}.json": _rendered(spec) for spec in specs}


def _rendered(spec: DatasetSpec) -> str:
    sizes: dict[str, Any] = {axis: len(spec.levels) if axis == "level" else axis for axis in spec.axes}
    attributes = {name: f"<{name}>" for name in (*RUN_ATTRIBUTES, *STORE_ATTRIBUTES)}
    chunks = {variable.name: ("rows", "columns") for variable in spec.variables if variable.by_session}
    documents = render_metadata(spec, sizes, attributes, chunks=chunks)
    return json.dumps(consolidated(documents), indent=1, sort_keys=True) + "\n"


def with_tables(text: str, specs: Iterable[DatasetSpec]) -> str:
    """The text of docs/datasets.md with its tables made anew: what stands between the two markers is replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected the markers {BEGIN!r} and {END!r} in the text")
    return f"{before}{BEGIN}\n\n{tables(specs)}\n{END}{after}"


def tables(specs: Iterable[DatasetSpec]) -> str:
    """All stores with their variables and coordinates as Markdown, then the codes."""
    stores = "\n".join(_store(spec) for spec in specs)
    return f"{stores}\n{_return_flags()}"


def _store(spec: DatasetSpec) -> str:
    lines = [f"### `{spec.name}.zarr`", "", _wrapped(f"{spec.title}. {spec.summary}"), ""]
    extra = [f"`{name}: {value}`" for name, value in _special(dict(spec.attributes)).items()]
    if spec.levels:
        lines += [_wrapped(f"`level`: {', '.join(f'`{level}`' for level in spec.levels)}."), ""]
    if extra:
        lines += [_wrapped(f"Attributes: {'; '.join(extra)}."), ""]
    if spec.lineage:
        lines += [_wrapped(f"Made from {', '.join(f'`{name}`' for name in spec.lineage)}."), ""]
    lines += ["| variable or coordinate | dimensions | dtype | unit | what |", "|---|---|---|---|---|"]
    lines += [_row(array) for array in spec.variables]
    lines += [_row(array) for array in spec.coordinates if array.name not in COMMON_COORDINATES]
    return "\n".join([*lines, ""])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _special(attributes: Mapping[str, str]) -> dict[str, str]:
    return {name: attributes[name] for name in ("panel_keying", "no_intercept_contract") if name in attributes}


def _row(array: ArraySpec) -> str:
    what = array.long_name + (f"; {array.comment}" if array.comment else "")
    if len(array.flags) > 1 and array.name != "return_flag":
        what += "; " + ", ".join(f"{code} {meaning}" for code, meaning in array.flags)
    return f"| `{array.name}` | {', '.join(array.dims)} | {array.dtype} | {array.units or '1'} | {what} |"


def _return_flags() -> str:
    lines = ["### Codes of `return_flag`", "", "| code | name | meaning |", "|---|---|---|"]
    lines += [f"| {int(flag)} | `{flag.name.lower()}` | {meaning} |" for flag, meaning in MEANINGS.items()]
    return "\n".join([*lines, ""])
