"""What predict-exit.json has of policies, their curves and the predictor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from coc_cli.exits.crossing import Row, Tried
from coc_cli.exits.evaluation import Curve, savings
from coc_cli.exits.fitting import calibration_error
from coc_cli.exits.points import Kit, parameters
from coc_cli.exits.policies import first_sure
from coc_cli.exits.traces import Trace
from coc_cli.report.schema import predict_exit as schema
from coc_cli.report.schema.part import as_data

DROPS = {True: (0.0, 0.0025, 0.005, 0.01, 0.02), False: (0.0, 0.01, 0.02, 0.05)}  # accuracy; share of the final's error


def summary(row: Row, first: Row) -> schema.Summary:
    """Return time and energy of a row; `first` is classic under race."""
    return schema.Summary(
        **as_data(named(row)),
        latency_ms_mean=float(row.totals.latency_ms.mean()),
        energy_saving=1 - row.energy_mj / first.energy_mj,
        deadline_miss_rate=row.missed,
        one_level=row.levels.are_one,
    )


def named(row: Row) -> schema.Choice:
    """Return a row's policy, governor and energy."""
    return schema.Choice(policy=row.policy, governor=row.governor.name, energy_mj_mean=row.energy_mj)


def described(row: Row, first: Row, test: Trace) -> schema.Policy:
    """Return what predict-exit.json has of a row; `first` is classic under race."""
    one, full = row.tried, row.tried.model.workload.full_macs
    return schema.Policy(
        **as_data(summary(row, first)),
        metric_value=float(one.score.mean()) * (1 if test.is_classes else -1),
        macs_mean=float(one.macs.mean()),
        macs_reduction=float(1 - one.macs.mean() / full),
        predictor=_hits(one, test),
        parameters=parameters(one.point.policy),
        exit_shares=(np.bincount(one.paths.exit, minlength=test.exits + 1) / len(test)).tolist(),
    )


def _hits(one: Tried, test: Trace) -> schema.Predictor | None:
    """Return how good a policy's forecasts are: against the first exit behind that would have been sure enough."""
    policy: Any = one.point.policy
    if not policy.predicts or not hasattr(policy, "least"):
        return None
    errors = []
    for at in range(test.exits):
        rows = np.flatnonzero(one.paths.predicted[:, at] >= 0)
        errors.append(one.paths.predicted[rows, at] - first_sure(test, policy.measure, policy.least, after=at)[rows])
    gaps, asked = np.concatenate(errors), (one.paths.predicted >= 0).sum(1)
    if not len(gaps):
        return schema.Predictor(hit_rate=1.0, mean_abs_error=0.0, repredictions_mean=0.0)
    return schema.Predictor(
        hit_rate=float((gaps == 0).mean()),
        mean_abs_error=float(np.abs(gaps).mean()),
        repredictions_mean=float(np.maximum(asked - 1, 0).mean()),
    )


def saved(curves: dict[str, Curve], test: Trace) -> list[schema.Saving]:
    """Return what each policy saves at scores that are so much below the final output's, with 95 % intervals."""
    full = test.score[-1]
    unit = 1.0 if test.is_classes else abs(float(full.mean()))
    found = []
    for drop in DROPS[test.is_classes]:
        for name, against in savings(curves, -drop * unit, full).items():
            classic, passive = against["classic"], against["passive"]
            entry = schema.Saving(
                policy=name,
                drop=drop * unit,
                macs=_number(passive.macs),
                saved_classic=_number(classic.share),
                saved_classic_ci95=(_number(classic.low), _number(classic.high)),
                saved_passive=_number(passive.share),
                saved_passive_ci95=(_number(passive.low), _number(passive.high)),
            )
            found.append(entry)
    return found


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def drawn(name: str, curve: Curve) -> schema.Curve:
    """Return a policy's operating points with their mean score and MACs on test."""
    points = [
        schema.Point(
            parameters=parameters(point.policy),
            validation_score=point.score,
            validation_macs=point.macs,
            score=float(score.mean()),
            macs=float(macs.mean()),
        )
        for point, score, macs in zip(curve.points, curve.score, curve.macs, strict=True)
    ]
    return schema.Curve(policy=name, points=points)


def calibration(kit: Kit) -> float:
    """Give the calibration error at the first exit, each fold of validation foretold by who has not seen it."""
    least = kit.thresholds(3, kit.measure)[1:2] or kit.thresholds(3, kit.measure)
    chances, leaves = [], []
    for predictor, trace in kit.unseen:
        rows = np.flatnonzero(trace.sureness(kit.measure)[0] < least[0])
        chances.append(predictor.chances(trace, 0, rows, np.full(len(rows), -1), least[0]))
        leaves.append(first_sure(trace, kit.measure, least[0], after=0)[rows])
    return calibration_error(np.concatenate(chances), np.concatenate(leaves))
