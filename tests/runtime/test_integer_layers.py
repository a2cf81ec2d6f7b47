"""The column of docs/models.md: how many layers of each architecture an export runs on integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exportable import INTEGER as KINDS
from exportable import answers, float_network, inputs_of, layer_kinds, quantised
from models_table import INTEGER, TABLE, Row
from sampling import tiered

from coc_cli.runtime import interpreter
from coc_cli.runtime.lowering import lower
from coc_cli.runtime.writers.onnx_model import OnnxForm, batched

ROWS = [row for row in TABLE if row.arch in INTEGER]
QUICK = [row for row in ROWS if row.arch in ("torchvision:squeezenet1_1", "timm:mobilenetv3_small_050")]


@pytest.mark.parametrize("row", tiered(ROWS, quick=QUICK, full=3), ids=lambda row: row.arch)
def test_layers_are_integer_as_the_table_says(row: Row, tmp_path: Path) -> None:
    if row.arch.startswith("timm:"):
        pytest.importorskip("timm", reason="timm is not installed: pip install 'coc-cli[timm]'")
    network = quantised(float_network(row.arch, dict(row.args), size=row.size), 8, 8)  # type: ignore[arg-type]
    graph, exported = lower(network)
    layers, of, why = INTEGER[row.arch]
    assert (len(graph.integer_layers), len(graph.layers)) == (layers, of)
    reasons = {reason.split("'")[1] for reason in graph.kept_float.values()}
    assert reasons == {
        {"a last layer that is a convolution": "output"}.get(part, part) for part in why.split(", ") if part
    }
    model = batched(graph, OnnxForm())
    kinds = layer_kinds(model, str(tmp_path))
    assert sum(kind in KINDS for kind in kinds) >= layers, "ONNX Runtime runs as many on integers"
    images = inputs_of(network, 2)
    found, interpreted = answers(model, images)["exit_0"], interpreter.run(graph, images)[-1]
    if not graph.kept_float:
        assert np.abs(found - interpreted).max() <= 0.2 * np.ptp(interpreted) + 1e-6
    del exported


def test_every_architecture_that_can_be_quantised_is_in_the_column() -> None:
    assert set(INTEGER) == {row.arch for row in TABLE if "quantize" not in row.fails}
