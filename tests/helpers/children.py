"""`coc` in a process of its own: with little memory, a deadline, other descriptors or another environment."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASURED = """\
import re, sys
from pathlib import Path
from coc_cli.cli import main
try:
    main()
finally:  # not ru_maxrss, which begins with the memory of the process before exec
    sys.stderr.write("\\npeak " + re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@dataclass(frozen=True)
class Ended:
    """How a child ended, and its largest memory in MB."""

    code: int
    stdout: str
    stderr: str
    peak: int = 0

    @property
    def lines(self) -> list[str]:
        """What it said of what is wrong."""
        return self.stderr.splitlines()


def child(*arguments: str | Path | bytes, memory: int | None = None, seconds: float = 60, **options: Any) -> Ended:
    """Run `coc` with an address space of so many MB; its deadline is the test that nothing is waited for."""
    limits = _limits(memory) if memory else None
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments],
        capture_output=True,
        timeout=seconds,
        check=False,
        preexec_fn=options.pop("preexec_fn", limits),
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **options.pop("env", {})},
        **options,
    )
    stderr, _, peak = done.stderr.decode(errors="replace").rpartition("\npeak ")
    return Ended(done.returncode, done.stdout.decode(errors="replace"), stderr, int(peak or 0) // 1024)


def _limits(memory: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (memory << 20, memory << 20))
