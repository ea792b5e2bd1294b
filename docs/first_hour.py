"""`python -m docs.first_hour` does what docs/first-hour.md says, in a new directory. `make first-hour`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAGE = Path(__file__).with_name("first-hour.md")
MAY_SAY_DO = "erm3 doctor"
"""The command whose exit status is 1 while something is to be done, as the page says."""


def commands() -> list[str]:
    """The lines of the page's block, in order."""
    (block,) = re.findall(r"^```\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    return str(block).splitlines()


def main() -> None:
    """Every command in a shell of its own, one after the other; exit status 1 where one fails."""
    where = Path(tempfile.mkdtemp(prefix="erm3-first-hour-"))
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    began = time.perf_counter()
    for command in commands():
        print(f"\n$ {command}", flush=True)
        if command.startswith("cd "):
            where /= command.removeprefix("cd ")
            continue
        done = subprocess.run(command, shell=True, cwd=where, env=environment, check=False)
        if done.returncode and command != MAY_SAY_DO:
            sys.exit(f"{command} ended with status {done.returncode} in {where}")
    print(f"\n{len(commands())} commands, {time.perf_counter() - began:.0f} s. What they made: {where}")


if __name__ == "__main__":
    main()
