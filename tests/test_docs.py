"""Documentation that is run: docs/your-model.md, block by block, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(python|yaml|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.full
def test_the_walk_from_a_checkpoint_and_a_folder_runs(tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / "docs/your-model.md").read_text())
    assert [kind for kind, _ in blocks] == ["python", "python", "python", "yaml", "sh", "python", "sh"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    printed = []
    for kind, text in blocks:
        file = re.match(r"# file: (\S+)\n", text)
        if file:
            (tmp_path / file[1]).write_text(text)
            continue
        command = [sys.executable, "-c", text] if kind == "python" else ["bash", "-euc", text]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PATH": path}, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        printed.append(done.stdout)
    assert "class 7 at exit" in printed[3]
    assert "early_exit" in printed[4]
    report = json.loads((tmp_path / "runs/mine/report.json").read_text())
    assert report["ok"]
    assert [stage["name"] for stage in report["stages"]] == ["baseline", "distill", "prune", "quantize", "early_exit"]
    assert report["stages"][0]["metric_value"] > 0.95, "the weights are those that were trained, prepared alike"
