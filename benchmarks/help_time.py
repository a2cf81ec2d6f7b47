"""What `coc --help` costs over a bare Typer program: medians of seven CPU times, the two in turn.

python benchmarks/help_time.py   ends with 1 where the difference passes the limit
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

RUNS, LIMIT_S = 7, 0.2
BARE = """
import typer
app = typer.Typer()
@app.command()
def bare(name: str = "x") -> None:
    "Do nothing."
app()
"""
COMMANDS = {
    "coc --help": [sys.executable, "-m", "coc_cli", "--help"],
    "a bare Typer program": [sys.executable, "-c", BARE, "--help"],
}


def cpu_s(command: list[str]) -> float:
    """Return the CPU time of a process in s, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print both medians and their difference; return 1 where it passes the limit."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            times[name].append(cpu_s(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours, bare = medians.values()
    for name, median in medians.items():
        print(f"{median:.3f} s  {name}")
    print(f"{ours - bare:.3f} s more (at most {LIMIT_S})")
    return int(ours - bare > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
