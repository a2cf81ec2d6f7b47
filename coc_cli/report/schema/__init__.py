"""What the JSON files of coc hold: one model each, from which writers write and readers read.

Keys stand in a file in the order of the model's fields. Adding a key keeps the file's `schema` number, changing or
removing one raises it.
"""

from coc_cli.report.schema.part import Part
from coc_cli.report.schema.predict_exit import PredictExitReport, ScheduleLine
from coc_cli.report.schema.run import Epoch, Report, Stage, StageResult

__all__ = ["FILES", "Epoch", "PredictExitReport", "Report", "ScheduleLine", "Stage", "StageResult"]

FILES: dict[str, type[Part]] = {"report": Report, "predict-exit": PredictExitReport, "schedule": ScheduleLine}
