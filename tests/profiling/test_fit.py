"""The fit finds what made the times, exactly; and what no time depends on stays open."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coc_cli.dvfs.energy import EnergyModel, Work, Workload
from coc_cli.dvfs.profile import Above, Amount, Arithmetic, read_profile
from coc_cli.profiling.fit import Sample, fit, non_limiting_rates


def samples(gmacs: float, gbs: float, overhead_us: float, works: list[tuple[float, float, bool]]) -> list[Sample]:
    """Make parts whose times are the model's."""
    made = []
    for index, (macs, moved, is_head) in enumerate(works):
        time_ms = max(macs / gmacs, moved / gbs) / 1e6 + overhead_us / 1e3 * is_head
        made.append(Sample(f"part {index}", macs, moved, is_head, time_ms))
    return made


# by intensity 100, 50, 20, 1, 0.5, 0.1 MACs a byte; heads between
WORKS = [
    (1e7, 1e5, False),
    (4e5, 8e3, True),
    (2e7, 1e6, False),
    (1e5, 1e5, True),
    (5e5, 1e6, False),
    (3e4, 3e5, False),
]


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 1000), st.floats(2.0, 19.0), st.floats(0.1, 500))
def test_what_made_the_times_is_found_again(gmacs: float, ridge: float, overhead_us: float) -> None:
    # `ridge` MACs a byte part those that wait for arithmetic from those that wait for memory: three each
    found = fit(samples(gmacs, gmacs / ridge, overhead_us, WORKS))
    assert found.throughput_gmacs == pytest.approx(gmacs, rel=1e-6)
    assert found.bandwidth_gbs == pytest.approx(gmacs / ridge, rel=1e-6)
    assert found.overhead_us == pytest.approx(overhead_us, rel=1e-4, abs=1e-6)
    assert found.largest_error < 1e-6


def test_the_energy_model_says_what_was_fitted() -> None:
    made = samples(2.0, 0.5, 30.0, WORKS)
    found, base = fit(made), read_profile("i7-10700")
    assert found.throughput_gmacs
    assert found.bandwidth_gbs
    assert found.overhead_us
    fp32 = Arithmetic(
        throughput_gmacs=Above(value=found.throughput_gmacs, source="fit"),
        dynamic_power_mw=base.arithmetic["fp32"].dynamic_power_mw,
    )
    profile = base.model_copy(
        update={
            "arithmetic": {"fp32": fp32},
            "memory_bandwidth_gbs": Above(value=found.bandwidth_gbs, source="fit"),
            "overhead_us": Amount(value=found.overhead_us, source="fit"),
        }
    )
    works = [Work({"fp32": macs}, moved) for macs, moved, _ in WORKS]
    model = EnergyModel(profile, Workload((works[0], works[2], works[4]), (works[1], works[3])))
    times = [one.time_ms for one in made]
    assert model.path_ms((0, 1, 2))[-1] == pytest.approx(sum(times[:5]), rel=1e-6)


def test_noise_moves_it_little() -> None:
    random = np.random.default_rng(0)
    made = [
        Sample(one.name, one.macs, one.bytes, one.is_head, one.time_ms * (1 + 0.02 * random.standard_normal()))
        for one in samples(5.0, 1.0, 20.0, WORKS * 3)
    ]
    found = fit(made)
    assert found.throughput_gmacs == pytest.approx(5.0, rel=0.03)
    assert found.bandwidth_gbs == pytest.approx(1.0, rel=0.03)
    assert found.overhead_us == pytest.approx(20.0, rel=0.1)
    assert found.median_error < 0.03
    assert found.is_tested


def test_one_part_tells_only_the_throughput() -> None:
    made = samples(4.0, 1e6, 0.0, [(8e6, 1e6, False)])
    found = fit(made)
    assert not found.is_tested
    assert (found.bandwidth_gbs, found.overhead_us) == (None, None)
    assert found.throughput_gmacs == pytest.approx(4.0)
    assert non_limiting_rates(made, found) == (0.0, pytest.approx(0.5))  # 1 MB in the 2 ms


def test_parts_without_arithmetic_tell_only_the_bandwidth() -> None:
    made = samples(1e9, 2.0, 0.0, [(0.0, 1e6, False), (0.0, 3e6, False)])
    found = fit(made)
    assert found.throughput_gmacs is None
    assert found.bandwidth_gbs == pytest.approx(2.0)


def test_no_number_is_negative() -> None:
    # the head is faster than its MACs alone would be: an overhead below 0 would explain it
    made = [Sample("a", 1e6, 1e3, False, 1.0), Sample("b", 2e6, 1e3, False, 2.0), Sample("h", 1e6, 1e3, True, 0.5)]
    found = fit(made)
    assert found.overhead_us == 0.0
    assert found.throughput_gmacs is not None
    assert found.error == tuple(model / one.time_ms - 1 for model, one in zip(found.model_ms, made, strict=True))


def test_a_part_that_does_nothing_counted_is_simply_wrong() -> None:
    found = fit([*samples(5.0, 1.0, 20.0, WORKS), Sample("pool", 0.0, 0.0, False, 0.01)])
    assert found.error[-1] == -1.0
    assert found.throughput_gmacs == pytest.approx(5.0, rel=1e-6)
