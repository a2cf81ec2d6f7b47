"""In which arithmetic a training computes: by what the machine has and by the recipe's numbers, never by a clock.

Weights, their gradients, losses and all evaluation are float32 in either. No torch here.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
WORTH_COMPILING = 4e12  # MACs of a stage's forward passes; compiling takes half a minute, which these take too


@dataclass(frozen=True)
class Arithmetic:
    """How the steps of a stage's training compute; two of them differ in the last bits of what is trained."""

    precision: Literal["float32", "bfloat16"] = "float32"  # of convolutions, linear layers and the maps between
    compiled: bool = False  # whether quantisers are compiled

    @property
    def settings(self) -> list[str]:
        """What stands in the cache key; empty for what earlier versions did."""
        return [] if self == FLOAT32 else [str(self)]

    def __str__(self) -> str:
        return self.precision + (", compiled quantisers" if self.compiled else "")


FLOAT32 = Arithmetic()


class Abilities(BaseModel):
    """What of it a machine can do, or a run that goes on has done since it began."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bfloat16: bool  # fast
    compiler: bool

    @classmethod
    def of(cls, device: str) -> Abilities:
        """Return what this machine can do on a device, by torch's name."""
        import torch

        if device.startswith("cuda"):
            return cls(bfloat16=torch.cuda.is_bf16_supported(including_emulation=False), compiler=_has_triton())
        flags = torch.cpu.get_capabilities()
        return cls(
            bfloat16=any(flags.get(name, False) for name in ("avx512_bf16", "amx_bf16")), compiler=_has_compiler()
        )

    def limited_to(self, here: Abilities) -> Abilities:
        """Return what of these a machine has, too."""
        return Abilities(bfloat16=self.bfloat16 and here.bfloat16, compiler=self.compiler and here.compiler)

    def missing(self, here: Abilities) -> str:
        """Return what these have and a machine lacks, in words; empty if nothing."""
        names = {"bfloat16": "bfloat16", "compiler": "a compiler"}
        return " and ".join(text for name, text in names.items() if getattr(self, name) and not getattr(here, name))

    def arithmetic(self, precision: Precision, macs: float, *, quantised: bool) -> Arithmetic:
        """Return how to compute a stage.

        Args:
            precision: As the recipe has it.
            macs: Of all forward passes of its training.
            quantised: Whether the network that it trains rounds.
        """
        if precision == "float32" or not macs:
            return FLOAT32
        lower = precision == "bfloat16" or self.bfloat16
        compiled = self.compiler and quantised and macs >= WORTH_COMPILING
        return Arithmetic("bfloat16" if lower else "float32", compiled)


def _has_compiler() -> bool:
    """Return whether torch.compile finds what it needs for processors: a C++ compiler and Python's headers."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return shutil.which(os.environ.get("CXX", "g++")) is not None and headers.is_file()


def _has_triton() -> bool:
    from importlib.util import find_spec

    return find_spec("triton") is not None and _has_compiler()
