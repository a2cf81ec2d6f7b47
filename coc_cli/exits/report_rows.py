"""What predict-exit.json has of policies, their curves and the predictor."""

from __future__ import annotations

import math

import numpy as np

from coc_cli.exits.curves import Curve, savings
from coc_cli.exits.equal_score import EqualScore, Saving, saved_by
from coc_cli.exits.operating_points import parameters
from coc_cli.exits.policies.classic import Classic
from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.policies.policy import ThresholdedPolicy
from coc_cli.exits.policies.subset import Subset
from coc_cli.exits.policy_governor_grid import EvaluatedPolicy, GridRow
from coc_cli.exits.predictor import calibration_error
from coc_cli.exits.traces import Trace, first_confident
from coc_cli.report.schema import predict_exit as schema
from coc_cli.report.schema.part import as_data

DROPS = {
    True: (0.0, 0.0025, 0.005, 0.01, 0.02),
    False: (0.0, 0.01, 0.02, 0.05),
}  # accuracy; fraction of the final's error


def drops_of(trace: Trace) -> list[float]:
    """Return how far the score may fall below the final output's where savings are read, in the score's unit."""
    unit = 1.0 if trace.is_classes else abs(float(trace.score[-1].mean()))
    return [drop * unit for drop in DROPS[trace.is_classes]]


def summary(row: GridRow, first: GridRow) -> schema.Summary:
    """Return time and energy of a row; `first` is classic under race."""
    return schema.Summary(
        **as_data(named(row)),
        latency_ms_mean=float(row.totals.latency_ms.mean()),
        energy_saving=1 - row.energy_mj / first.energy_mj,
        deadline_miss_rate=row.miss_rate,
        one_level=row.levels.are_one,
    )


def named(row: GridRow) -> schema.Choice:
    """Return a row's policy, governor and energy."""
    return schema.Choice(policy=row.policy, governor=row.governor.name, energy_mj_mean=row.energy_mj)


def policy_row(
    row: GridRow, first: GridRow, test: Trace, equal: EqualScore, baseline: float | None
) -> schema.PolicyRow:
    """Return what predict-exit.json has of a row; `first` is classic under race, `baseline` the metric it came from."""
    one, full = row.evaluated, row.evaluated.model.workload.full_macs
    value = float(one.score.mean()) * (1 if test.is_classes else -1)
    best = equal.rows.get(row.policy)
    is_best = best is not None and best.governor is row.governor
    savings = saved_by(equal, row.policy) if is_best else {}
    return schema.PolicyRow(
        **as_data(summary(row, first)),
        metric_value=value,
        macs_mean=float(one.macs.mean()),
        macs_reduction=float(1 - one.macs.mean() / full),
        predictor=_hits(one, test),
        parameters=parameters(one.policy),
        exit_shares=(np.bincount(one.paths.exit, minlength=test.exits + 1) / len(test)).tolist(),
        family=one.policy.family,
        least_deadline=row.least_ms / one.model.plain_ms,
        saving_vs_subset=_fraction(savings.get(Subset.name)),
        saving_vs_no_exits=_fraction(savings.get(Classic.name)),
        drop_vs_baseline=None if baseline is None else (baseline - value) * (1 if test.is_classes else -1),
    )


def _fraction(saving: Saving | None) -> float | None:
    return None if saving is None else saving.fraction


def equal_rows(equal: EqualScore) -> list[schema.EqualScoreEntry]:
    """Return what each policy needs at equal score on test, and saves against each opponent."""
    return [
        schema.EqualScoreEntry(
            **as_data(named(row)),
            family=row.evaluated.policy.family,
            energy_mj=_number(float(equal.energy_mj[name][0])),
            against=[
                schema.OpponentEntry(
                    opponent=opponent,
                    saving=saving.fraction,
                    saving_ci95=saving.ci95,
                    unread_samples=saving.unread,
                )
                for opponent, saving in saved_by(equal, name).items()
                if saving is not None
            ],
        )
        for name, row in equal.rows.items()
        if name == row.policy
    ]


def _hits(one: EvaluatedPolicy, test: Trace) -> schema.PredictorEntry | None:
    """Return how good a policy's predictions are: against the first exit behind that is confident enough."""
    policy = one.policy
    if not policy.predicts or not isinstance(policy, ThresholdedPolicy):
        return None
    errors = []
    for at in range(test.exits):
        rows = np.flatnonzero(one.paths.predicted[:, at] >= 0)
        errors.append(
            one.paths.predicted[rows, at] - first_confident(test, policy.measure, policy.threshold, after=at)[rows]
        )
    gaps, predictions = np.concatenate(errors), (one.paths.predicted >= 0).sum(1)
    if not len(gaps):
        return schema.PredictorEntry(hit_rate=1.0, mean_abs_error=0.0, repredictions_mean=0.0)
    return schema.PredictorEntry(
        hit_rate=float((gaps == 0).mean()),
        mean_abs_error=float(np.abs(gaps).mean()),
        repredictions_mean=float(np.maximum(predictions - 1, 0).mean()),
    )


def savings_rows(curves: dict[str, Curve], test: Trace) -> list[schema.SavingEntry]:
    """Return what each policy saves at scores that are so much below the final output's, with 95 % intervals."""
    full = test.score[-1]
    entries = []
    for drop in drops_of(test):
        for name, against in savings(curves, -drop, full).items():
            classic, passive = against["classic"], against["passive"]
            entry = schema.SavingEntry(
                policy=name,
                drop=drop,
                macs=_number(passive.macs),
                saved_classic=_number(classic.fraction),
                saved_classic_ci95=(_number(classic.low), _number(classic.high)),
                saved_passive=_number(passive.fraction),
                saved_passive_ci95=(_number(passive.low), _number(passive.high)),
            )
            entries.append(entry)
    return entries


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def curve_row(name: str, curve: Curve) -> schema.CurveEntry:
    """Return a policy's operating points with their mean score and MACs on test."""
    points = [
        schema.PointEntry(
            parameters=parameters(point.policy),
            validation_score=point.score,
            validation_macs=point.macs,
            score=float(score.mean()),
            macs=float(macs.mean()),
        )
        for point, score, macs in zip(curve.points, curve.score, curve.macs, strict=True)
    ]
    return schema.CurveEntry(policy=name, points=points, family=curve.points[0].policy.family)


def calibration(context: PolicyContext) -> float:
    """Return the calibration error at the first exit of a predictor, each fold predicted by who has not seen it."""
    measure = next(iter(context.fitted))
    thresholds = context.thresholds(3, measure)
    threshold, first = (thresholds[1:2] or thresholds)[0], context.starts(measure)[0]
    probabilities, left_at = [], []
    for predictor, trace in zip(context.fitted[measure].folds, context.parts, strict=True):
        rows = np.flatnonzero(trace.confidence(predictor.measure)[first] < threshold)
        probabilities.append(predictor.probabilities(trace, first, rows, np.full(len(rows), -1), threshold))
        left_at.append(first_confident(trace, predictor.measure, threshold, after=first)[rows])
    return calibration_error(np.concatenate(probabilities), np.concatenate(left_at))
