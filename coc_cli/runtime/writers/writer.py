"""What a writer of exports is: an integer graph in, files for a runtime out. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from coc_cli.nets.network import Network
    from coc_cli.runtime.graph import IntegerGraph


@dataclass(frozen=True)
class ExportOptions:
    """How files are written."""

    weights: str = "int8"
    portable: bool = False
    padded: bool = True


@dataclass(frozen=True)
class Job:
    """What is to be written."""

    graph: IntegerGraph
    network: Network  # as exported: with biases on the steps of the sums
    options: ExportOptions
    calibration: NDArray[np.float32]  # normalised images [N, C, H, W] for what needs ranges; may be none


@dataclass(frozen=True)
class Written:
    """The files of an export by name, and what its manifest says of them."""

    files: Mapping[str, bytes]
    runtime: Mapping[str, Any]  # its name, the least version, what the file format is
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Writer:
    """One form of export; a subclass in a file of its own."""

    name: ClassVar[str]
    summary: ClassVar[str]
    is_exact: ClassVar[bool] = False  # whether what runs the files rounds as the integer interpreter does
    is_integer: ClassVar[bool] = True  # whether it computes with whole numbers
    largest_code: ClassVar[int] = 127  # to which codes of weights may be enlarged for a finer bias

    def code_limit(self, options: ExportOptions) -> int:
        """Return to which codes of weights may be enlarged for a finer bias."""
        del options
        return self.largest_code

    def write(self, job: Job) -> Written:
        """Return the files; raises `StageError` for what the form cannot hold."""
        raise NotImplementedError

    def answers(self, written: Written, images: NDArray[np.float32]) -> list[NDArray[np.float32]] | None:
        """Return the numbers [N, K] of all exits that the files give; None where nothing here runs them."""
        raise NotImplementedError
