"""Processes on this machine, each with its share of the threads."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from coc_cli.executors.executor import Executor


class Local(Executor):
    """Processes of this machine. One that dies takes the others' work with it, which is submitted again."""

    name = "local"
    shares_files = True

    def __init__(self, jobs: int, threads: int, *, on_gpus: bool) -> None:
        super().__init__(jobs, threads, on_gpus=on_gpus)
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        begin = self.threads, context.Value("i", 0), _gpus() if self.on_gpus else []
        return ProcessPoolExecutor(self.jobs, mp_context=context, initializer=_begin, initargs=begin)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        try:
            return self._pool.submit(function, *arguments)
        except BrokenProcessPool:
            self.close()
            self._pool = self._new()
            return self._pool.submit(function, *arguments)

    def is_lost(self, error: BaseException) -> bool:
        return isinstance(error, BrokenProcessPool)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.kill()


def _begin(threads: int, begun: Any, gpus: list[str]) -> None:
    """Let a worker compute in so many threads, on a GPU in turn, leave Ctrl-C to its parent, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    with begun.get_lock():
        place, begun.value = begun.value, begun.value + 1
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _gpus() -> list[str]:
    """Return the names of this machine's GPUs, or of those that are to be used."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]
