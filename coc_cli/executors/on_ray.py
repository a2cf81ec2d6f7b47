"""Ray: the workers of a cluster, or of this machine where there is none."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from importlib.util import find_spec
from typing import Any

from coc_cli.executors.executor import Executor

RETRIES = 3  # of a task whose worker died, by Ray itself


class OnRay(Executor):
    """Tasks of Ray, of `threads` CPUs each; `RAY_ADDRESS` says which cluster. Files travel as arguments and results."""

    name = "ray"
    shares_files = False

    def __init__(self, jobs: int, threads: int, *, on_gpus: bool) -> None:
        super().__init__(jobs, threads, on_gpus=on_gpus)
        import ray

        self._ray = ray
        address = os.environ.get("RAY_ADDRESS")
        here = {"address": address} if address else {"num_cpus": jobs * threads, "include_dashboard": False}
        variables = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        ray.init(**here, log_to_driver=False, logging_level=logging.ERROR, runtime_env={"env_vars": variables})

    @classmethod
    def missing(cls) -> str | None:
        if find_spec("ray") is None:
            return "Ray is not installed; pip install 'coc-cli[cluster]', or --executor local"
        return None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        task = self._ray.remote(num_cpus=self.threads, num_gpus=int(self.on_gpus), max_retries=RETRIES)(function)
        future: Future[Any] = task.remote(*arguments).future()
        return future

    def is_lost(self, error: BaseException) -> bool:
        lost = (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError)
        return isinstance(error, (*lost, self._ray.exceptions.LocalRayletDiedError))

    def close(self) -> None:
        self._ray.shutdown()
