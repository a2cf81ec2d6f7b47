"""What the JSON files of coc hold: one model each, from which writers write and readers read.

Keys stand in a file in the order of the model's fields. Adding a key keeps the file's `schema` number, changing or
removing one raises it.
"""

from coc_cli.report.schema.evaluate import EvaluationReport
from coc_cli.report.schema.inspect import CheckpointReport
from coc_cli.report.schema.order import OrderReport
from coc_cli.report.schema.part import JsonPart
from coc_cli.report.schema.plan import PlanReport
from coc_cli.report.schema.predict_exit import PredictExitReport, ScheduleLine
from coc_cli.report.schema.run import EpochEntry, Report, StageEntry, StageResult

__all__ = [
    "FILES",
    "EpochEntry",
    "EvaluationReport",
    "PredictExitReport",
    "Report",
    "ScheduleLine",
    "StageEntry",
    "StageResult",
]

FILES: dict[str, type[JsonPart]] = {
    "report": Report,
    "predict-exit": PredictExitReport,
    "schedule": ScheduleLine,
    "plan": PlanReport,
    "inspect": CheckpointReport,
    "evaluate": EvaluationReport,
    "order": OrderReport,
}
