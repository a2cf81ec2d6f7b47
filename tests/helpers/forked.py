"""Commands in children forked from one process that has imported everything once: a hostile case in a few hundredths of
a second, with limits of its own.

    with closing(Server()) as server:
        ended = server.run(folder, ["plan", "recipe.yaml"])

pytest's own process is never forked: it has threads, and more memory than a case may take.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CPU_SECONDS = 10
WALL_SECONDS = 60
MEMORY_BYTES = 600_000_000  # above what the parent has
SHOWN_BYTES = 20_000_000  # of what a case printed, at most
CRASHED = 70  # what a child ends with whose error nobody caught


@dataclass(frozen=True)
class Ended:
    """How a case ended, what it printed, and what it took."""

    code: int  # minus the signal's number if one ended it
    stdout: str
    stderr: str
    memory_bytes: int  # the most, above the parent's
    cpu_seconds: float
    is_late: bool  # the watchdog ended it

    @property
    def lines(self) -> list[str]:
        """What it said of what is wrong."""
        return [line for line in self.stderr.split("\n") if line]


class Server:
    """The process that forks; started when it is made, ended by `close`."""

    def __init__(self) -> None:
        paths = (str(ROOT), str(Path(__file__).parent))
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        no_network = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
        self._outputs = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **one, **no_network, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "120"},
        )
        self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=WALL_SECONDS)
        self._outputs.cleanup()

    def run(self, folder: Path, arguments: Sequence[str], action: str = "coc") -> Ended:
        """Do an action (a function of `ACTIONS`) with some arguments in a folder, in a child."""
        assert self._process.stdin
        outputs = [str(Path(self._outputs.name) / name) for name in ("stdout", "stderr")]
        request = {"folder": str(folder), "action": action, "arguments": list(arguments), "outputs": outputs}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        said = [Path(name).open("rb").read(SHOWN_BYTES).decode("utf-8", "replace") for name in outputs]  # noqa: SIM115
        return Ended(stdout=said[0], stderr=said[1], **answer)

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the process that forks is gone"
        return json.loads(line)


def _coc(arguments: list[str]) -> None:
    from coc_cli.__main__ import main

    sys.argv = ["coc", *arguments]
    main()


def _images(arguments: list[str]) -> None:
    """Read all images of a recipe, which `coc compress` does before it trains."""
    from coc_cli.recipe.reading import read
    from coc_cli.verbs.command import answers

    _ended(answers(lambda: say(sum(map(len, _splits(read(Path(arguments[0])).images()))))))


def _splits(data: Any) -> list[Any]:
    return [data.train, data.validation, data.test]


def _answers(arguments: list[str]) -> None:
    """Print what the network of a checkpoint answers; what is refused is an error."""
    from coc_cli.verbs.command import answers

    _ended(answers(lambda: say(answers_of(Path(arguments[0])))))


def answers_of(path: Path) -> str:
    """Return a checksum of what the network of a checkpoint answers for some images."""
    import hashlib

    import torch

    from coc_cli.nets.checkpoint import load

    network = load(path)
    images = torch.linspace(-2, 2, 2 * int(torch.tensor(network.spec.input_shape).prod()))
    with torch.no_grad():
        outputs = network(images.view(2, *network.spec.input_shape))
    return hashlib.sha256(b"".join(output.numpy().tobytes() for output in outputs)).hexdigest()


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")


def _ended(verb: Any) -> None:
    """End as a verb of the command line does."""
    import typer

    try:
        verb()
    except typer.Exit as done:
        sys.exit(done.exit_code)


ACTIONS = {"coc": _coc, "images": _images, "answers": _answers}


def _serve() -> None:
    """Import everything once, then fork a child for each line of standard input."""
    for module in pkgutil.walk_packages([str(ROOT / "coc_cli")], "coc_cli."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("sklearn.datasets", "torchvision", "timm", "coc_cli.__main__"):
        importlib.import_module(name)
    import torch
    from PIL import Image

    torch.set_num_threads(1)
    Image.init()
    gc.collect()
    gc.freeze()
    requests, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    print("{}", file=answers, flush=True)
    for line in requests:
        print(json.dumps(_forked(json.loads(line))), file=answers, flush=True)


def _forked(request: dict[str, Any]) -> dict[str, Any]:
    """Do what is requested in a child, and return how it ended."""
    before = int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]
    child = os.fork()
    if child == 0:
        _be_child(request)
    is_late = _is_late(child)
    if is_late:
        os.killpg(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)  # what it may have started
    return {
        "code": os.waitstatus_to_exitcode(status),
        "memory_bytes": (usage.ru_maxrss - before) * 1024,  # libraries' pages count as the child's
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "is_late": is_late,
    }


def _is_late(child: int) -> bool:
    descriptor = os.pidfd_open(child)
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return not waiting.poll(WALL_SECONDS * 1000)
    finally:
        os.close(descriptor)


def _be_child(request: dict[str, Any]) -> None:
    code = CRASHED
    try:
        os.setsid()
        os.chdir(request["folder"])
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 2))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
        for number, name in enumerate((os.devnull, *request["outputs"])):
            os.dup2(os.open(name, flags, 0o600), number)
        ACTIONS[request["action"]](request["arguments"])
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else CRASHED
    except BaseException:  # noqa: BLE001  (whatever it is, it is what the case found)
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
