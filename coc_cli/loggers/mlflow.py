"""MLflow, at MLFLOW_TRACKING_URI or in a store of files in the run directory.

A run that was interrupted goes on as the same run of MLflow, and no epoch is there twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from coc_cli.loggers.logger import EpochRow, Logger, RunAbout, StageRow

EXPERIMENT, TOKEN = "coc", "coc.token"
AT_ONCE = 100  # parameters, that a server takes
LONGEST = 500  # characters of a parameter


class MLflow(Logger):
    """A run of the experiment "coc", or MLFLOW_EXPERIMENT_NAME: metrics (01-distill/loss), parameters, artefacts."""

    name: ClassVar[str] = "mlflow"
    module: ClassVar[str] = "mlflow"
    place: ClassVar[str] = "mlruns"

    def begin(self, about: RunAbout) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # which newer versions ask for
            uri = (about.directory / self.place).resolve().as_uri()
        from mlflow import MlflowClient

        self.client: Any = MlflowClient(tracking_uri=uri)
        self.known: dict[str, set[int]] = {}
        experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT)
        self.run_id = self._earlier(experiment, about.token)
        if self.run_id:
            self.client.update_run(self.run_id, status="RUNNING")
            return
        tags = {TOKEN: about.token, "coc.directory": str(about.directory)}
        self.run_id = self.client.create_run(experiment, tags=tags, run_name=about.name).info.run_id
        self._parameters(about.parameters)

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self.client.create_experiment(name))

    def _earlier(self, experiment: str, token: str) -> str:
        """Return the run that an earlier process began for the same recipe and directory; empty if there is none."""
        wanted = f"tags.`{TOKEN}` = '{token}'"
        found = self.client.search_runs([experiment], wanted, max_results=1)  # the latest
        return str(found[0].info.run_id) if found else ""

    def _parameters(self, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        rest = iter(parameters.items())
        while some := list(islice(rest, AT_ONCE)):
            params = [Param(key, str(value)[:LONGEST]) for key, value in some]
            self.client.log_batch(self.run_id, params=params)

    def epoch(self, row: EpochRow) -> None:
        self._metrics({f"{row.stage}/{name}": value for name, value in row.values.items()}, row.epoch)

    def stage(self, row: StageRow) -> None:
        self._metrics({f"stages/{name}": value for name, value in row.values.items()}, row.index)

    def _metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log figures, but for those that an earlier process has logged."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = [Metric(key, value, now, step) for key, value in values.items() if not self._has(key, step)]
        if new:
            self.client.log_batch(self.run_id, metrics=new)

    def _has(self, key: str, step: int) -> bool:
        if key not in self.known:  # at its first figure in this process
            self.known[key] = {one.step for one in self.client.get_metric_history(self.run_id, key)}
        return step in self.known[key]

    def end(self, artefacts: Sequence[Path]) -> None:
        for path in artefacts:
            self.client.log_artifact(self.run_id, str(path))
        self.client.set_terminated(self.run_id, "FINISHED")

    def abort(self) -> None:
        self.client.set_terminated(self.run_id, "KILLED")
