"""The snippets of docs/reading.md and the notebooks run as they stand there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from typer.testing import CliRunner

from pipeline.cli.runs import app
from pipeline.engine import execution
from pipeline.read import open_dataset
from pipeline.settings import SimulatedMarket
from tests.engine.published_market import settings_for
from tests.gates import PATIENCE
from tests.serve.conftest import serving

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", (DOCS / "reading.md").read_text(), re.M | re.S)
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def place(whole, stocks, tmp_path_factory):
    """Where snippets run: they name a root OUT, a stock AAPL and a server, and write files."""
    with serving(whole) as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("reading"))
        Path("OUT").symlink_to(whole)
        yield lambda text: text.replace("AAPL", stocks[0]).replace(ADDRESS, server.address)


def of(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def test_commands_then_python_run_in_the_order_of_the_page(place):
    for line in "\n".join(of("")).splitlines():
        words, _, file = place(line).partition(" > ")
        done = CliRunner().invoke(app, words.split()[1:])
        assert done.exit_code == 0, done.output
        if file:
            Path(file).write_bytes(done.stdout_bytes)
    assert Path("industries.csv").read_text().startswith('"industry_code"')
    for number, text in enumerate(of("python"), 1):
        exec(compile(place(text), f"reading.md, block {number}", "exec"), {})
    assert Path("betas.png").stat().st_size > 10_000


def test_the_lines_of_the_readme_make_its_picture(place, stocks):
    (text,) = re.findall(r"^```python\n(.*?)^```", (DOCS.parent / "README.md").read_text(), re.M | re.S)
    Path("betas.png").unlink(missing_ok=True)
    exec(compile(text.replace("data/simulated", "OUT").replace("PAROA", stocks[0]), "README.md", "exec"), {})
    assert Path("betas.png").stat().st_size > 10_000


def test_javascript_asks_the_server(place):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    for text in of("javascript"):
        words = [node, "--input-type=module", "--eval", place(text)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("2019-04-30 ")


def test_r_reads_what_a_command_wrote(place, family, stocks):
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("needs R")
    command = next(line for line in "\n".join(of("")).splitlines() if line.endswith("aapl.csv"))
    assert CliRunner().invoke(app, place(command).split()[1:]).exit_code == 0
    (text,) = of("r")
    done = subprocess.run([rscript, "-e", place(text)], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    expected = family.ticker_returns(stocks[0], years=2)["l3_cfr"].astype(float)
    assert done.stdout.split()[:2] == [str(len(expected)), f"{np.nanstd(expected, ddof=1):.6f}"]


def test_texts_of_a_dataset_are_texts_for_numpy_too(whole):
    dataset = open_dataset("ds_daily", whole)
    assert dataset.ticker.values.astype(str).dtype.kind == "U"
    levels = open_dataset("ds_erm3_betas_SPY_uni_mc_3000", whole)
    assert levels.factor_beta.sel(level="market").ndim == 2
    assert dataset.ticker.attrs["comment"] == "not unique"


@pytest.fixture(scope="module")
def years(tmp_path_factory) -> Path:
    """A simulated market with more than a year of published sessions."""
    root = tmp_path_factory.mktemp("years") / "root"
    market = SimulatedMarket(stocks=80, first_session="2018-01-02", last_session="2020-06-30")
    settings = settings_for(root, simulated=market)
    execution.execute(settings, "2019-01-03", "2020-06-30")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path, years, monkeypatch):
    monkeypatch.setenv("ERM3_ROOT", str(years))
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=int(PATIENCE), kernel_name="python3").execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs)


def test_notebooks_are_kept_without_outputs():
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells), path.name
