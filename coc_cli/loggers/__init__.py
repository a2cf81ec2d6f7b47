"""Where the figures of a run may go besides its own files, by the recipe's `logger`. One line a logger."""

from __future__ import annotations

from coc_cli.registry import registered
from coc_cli.loggers.logger import Logger

from coc_cli.loggers.csv import Csv
from coc_cli.loggers.tensorboard import TensorBoard
from coc_cli.loggers.mlflow import MLflow
from coc_cli.loggers.wandb import Wandb
from coc_cli.loggers.trackio import Trackio

LOGGERS = registered(vars(), Logger)
