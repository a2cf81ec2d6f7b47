"""The base of every executor: it runs functions elsewhere, and tells a lost worker from a function that failed."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ClassVar


def processors() -> int:
    """Return how many of this machine's processors this process may use: fewer in a job of Slurm or a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Executor(ABC):
    """A value of `--executor`. Functions and what they take and give can be pickled."""

    name: ClassVar[str]
    shares_files: ClassVar[bool]  # whether workers see this machine's files

    def __init__(self, jobs: int, threads: int, *, on_gpus: bool) -> None:
        """Begin.

        Args:
            jobs: That run beside each other.
            threads: Of each.
            on_gpus: Whether each computes on a GPU, which it sees as the only one.
        """
        self.jobs, self.threads, self.on_gpus = jobs, threads, on_gpus

    @classmethod
    def missing(cls) -> str | None:
        """Return what is not installed and what to do, None if nothing is."""
        return None

    @abstractmethod
    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a function elsewhere."""

    @abstractmethod
    def is_lost(self, error: BaseException) -> bool:
        """Return whether an error of a future says that its worker died: the function may be submitted again."""

    @abstractmethod
    def close(self) -> None:
        """End; functions that still run are stopped."""
