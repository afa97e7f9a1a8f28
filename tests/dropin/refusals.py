"""Run in a process of its own: what `dnsd check` and `dnsd serve` say about each Corefile of a folder, as JSON. Many
commands take the time of one start; what one of them left behind would show in those after it.

    python -m tests.dropin.refusals FOLDER
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

from dnsd.cli import main

COMMANDS = {"check": ("check",), "serve": ("serve", "--conf")}


def refusal(arguments: list[str]) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `dnsd`."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main(arguments)
    return status, output.getvalue(), errors.getvalue()


if __name__ == "__main__":
    print(
        json.dumps(
            {
                f"{command} {path.name}": refusal([*words, str(path)])
                for path in sorted(Path(sys.argv[1]).iterdir())
                for command, words in COMMANDS.items()
            }
        )
    )
