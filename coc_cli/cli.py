"""The verbs: parse, call, print."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from coc_cli.errors import CocError, ExitCode, RunError, UserError, did_you_mean, environment_error, user_error
from coc_cli.units import printable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compress convolutional networks by a chain of techniques, and plan the energy of running them.",
    epilog="Exit codes: 0 done, 1 failed, 2 recipe, file or argument wrong, 3 a limit is missed, 130 interrupted.",
)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="a YAML recipe")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="a.b=c", help="change a key of the recipe, e.g. chain.0.distill.epochs=5")
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="run the Python file that a checkpoint names, where it is needed")
]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


def answers(verb: Callable[..., ExitCode | None]) -> Callable[..., None]:
    """Turn what a verb gives or raises into an exit code, errors into lines on stderr."""

    @functools.wraps(verb)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        for stop in (signal.SIGINT, signal.SIGTERM):  # a shell's background job comes with SIGINT ignored
            signal.signal(stop, _interrupt)
        try:
            code = verb(*args, **kwargs) or ExitCode.DONE
            sys.stdout.flush()  # a full disk, or a pipe that nobody reads, shows only now
        except BaseException as error:
            if isinstance(error, SystemExit):
                raise
            if kwargs.get("debug"):
                traceback.print_exc()
            text, code = _ending(error)
            with contextlib.suppress(OSError):
                print(text, end="\n" if text else "", file=sys.stderr, flush=True)
        raise typer.Exit(int(code))

    return wrapped


def _ending(error: BaseException) -> tuple[str, ExitCode]:
    """Return what is said of an error, and the exit code; nothing of a pipe that nobody reads on."""
    if _is_interrupt(error):
        return "interrupted; the same command goes on from the last epoch", ExitCode.INTERRUPTED
    if isinstance(error, OSError) and error.filename is None:
        _discard_output()
        error.filename = "standard output"  # what coc writes to a file names it
    if isinstance(error, BrokenPipeError):
        return "", ExitCode.FAILED
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno:
        error = environment_error(error)
    if isinstance(error, CocError):
        return printable(error), error.exit_code
    if isinstance(error, MemoryError):
        return "out of memory; lower 'batch', 'size' or 'limit' in the recipe", ExitCode.FAILED
    first = (str(error).splitlines() or [""])[0]
    return printable(f"coc failed: {type(error).__name__}: {first}; --debug shows where"), ExitCode.FAILED


def _is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is behind an error: while a library is imported that makes another of it."""
    if error is None or isinstance(error, KeyboardInterrupt):
        return error is not None
    return _is_interrupt(error.__cause__ or error.__context__)


def _discard_output() -> None:
    """Let what could not be printed not fail again when the process ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # noqa: PERF203  (there are two)
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _version(value: bool) -> None:
    if value:
        from coc_cli.version import __version__

        print(f"coc {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version and exit")
    ] = False,
) -> None:
    pass


@app.command()
@answers
def compress(
    recipe: RecipePath,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="run directory  [default: runs/NAME]")] = None,
    overrides: Overrides = [],  # noqa: B006  (typer copies it)
    fresh: Annotated[bool, typer.Option("--fresh", help="make every stage again, whatever the cache holds")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N; overrides the recipe's")] = None,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> ExitCode:
    """Apply a recipe's chain; leaves a compressed checkpoint and a report in the run directory."""
    from coc_cli.chain.compress import compress as run

    result = run(recipe, out=out, overrides=tuple(overrides), fresh=fresh, device=device, trust_code=trust_code)
    from coc_cli.printing.result import print_result

    print_result(result.report, result.directory)
    if result.recipe.predict_exit is not None:
        place = result.recipe.predict_exit.out  # the user's own recipe may choose it
        out = Path(place) if place else None
        _predict_exit(result.directory, out=out, device=device or result.recipe.device, trust_code=True)
    if result.is_undecided:
        raise RunError("not decided: busy machine; run the same command again when it has less to do")
    return ExitCode.DONE if result.ok else ExitCode.LIMIT_MISSED


@app.command()
@answers
def plan(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show what a recipe would do and cost after each stage, without data and training."""
    from coc_cli.recipe.reading import read

    file = read(recipe, tuple(overrides), trust_code=trust_code, data_may_be_absent=True)
    for path in file.code_files:
        print(f"runs the code in '{printable(path)}', which the recipe names", flush=True)
    from coc_cli.chain.plan import make_plan
    from coc_cli.printing.plan import print_plan

    print_plan(make_plan(file), file)


@app.command("predict-exit")
@answers
def predict_exit(
    target: Annotated[Path, typer.Argument(metavar="RUN|CHECKPOINT", help="a run directory, or a model.safetensors")],
    data: Annotated[Path | None, typer.Option(metavar="RECIPE", help="whose images  [default: the run's own]")] = None,
    profile: Annotated[str | None, typer.Option(help="a device (see coc profiles), or a profile's path")] = None,
    deadline: Annotated[
        str | None, typer.Option(help="12ms, or 1.25x: times the longest path at the highest frequency")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="folder  [default: RUN/predict-exit/PROFILE]")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N: where the network runs once")] = "auto",
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Predict where inputs leave, and plan a frequency and voltage for each; compares exit policies."""
    _predict_exit(target, data=data, profile=profile, deadline=deadline, out=out, device=device, trust_code=trust_code)


def _predict_exit(target: Path, **options: Any) -> None:
    from coc_cli.exits.request import prepare

    request = prepare(target, **options)
    from coc_cli.exits.predict_exit import predict_exit as run

    outcome = run(request, say=lambda text: print(printable(text), file=sys.stderr))
    from coc_cli.printing.policies import print_policies

    print_policies(outcome.report, outcome.directory)


@app.command()
@answers
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="run directories; others are set against the first")
    ],
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="terminal, html, md (a pull request comment), csv or json")
    ] = "terminal",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="file; by default html is RUN/report.html (of several runs ./report.html), and text is printed",
        ),
    ] = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show what runs found and how they differ, unfinished ones as far as they go; a missed limit ends with 0."""
    from coc_cli.report.delivery import deliver

    made = deliver(runs, form, out)
    if isinstance(made, Path):
        print(f"report: {printable(made)}")
    else:
        sys.stdout.write(made)


@app.command()
@answers
def export(
    target: Annotated[Path, typer.Argument(metavar="RUN|CHECKPOINT", help="a run directory, or a model.safetensors")],
    to: Annotated[str, typer.Option("--to", metavar="FORM", help="onnx, tflite or torch")] = "onnx",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="folder  [default: RUN/export]")] = None,
    weights: Annotated[str, typer.Option(help="int8, int4 or int2: bits of weights in the file")] = "int8",
    portable: Annotated[
        bool, typer.Option("--portable", help="equal answers also on x86 processors without VNNI; slower")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(metavar="RECIPE", help="whose validation images it is compared on  [default: RUN's]")
    ] = None,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="do not compare it with the network")] = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Write a network for a runtime, compared with it on validation images."""
    from coc_cli.runtime.export_request import prepare

    options = {"weights": weights, "portable": portable, "data": data, "unchecked": unchecked}
    request = prepare(target, to=to, out=out, trust_code=trust_code, **options)  # type: ignore[arg-type]
    from coc_cli.runtime.export import export as run_export

    exported = run_export(request, say=lambda text: print(printable(text), file=sys.stderr))
    from coc_cli.printing.export import print_export

    print_export(exported)


@app.command()
@answers
def run(
    target: Annotated[
        Path, typer.Argument(metavar="DIR|CHECKPOINT", help="what coc export wrote, a run directory or a checkpoint")
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="image files")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Say what a network sees in images."""
    from coc_cli.runtime.run import answers as answers_for

    found = answers_for(target, images, trust_code=trust_code)
    from coc_cli.printing.export import print_answers

    print_answers(found, as_json=as_json)


@app.command()
@answers
def bench(
    targets: Annotated[
        list[Path], typer.Argument(metavar="RUN|DIR...", help="run directories, or folders that coc export wrote")
    ],
    threads: Annotated[int, typer.Option(metavar="N", help="how many compute")] = 1,
    batch: Annotated[int, typer.Option(metavar="N", help="images at a time; several run all exits")] = 1,
    seconds: Annotated[float, typer.Option(metavar="S", help="how long to time, after a warm-up")] = 10.0,
    peers: Annotated[
        bool, typer.Option("--peers", help="also the baseline as other tools quantise it to 8 bits")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(metavar="RECIPE", help="whose test images go in  [default: the run's own]")
    ] = None,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Time networks on this machine, each in its own process, against the first: a run's baseline and its result."""
    from coc_cli.runtime.bench_request import prepare

    options = {"threads": threads, "batch": batch, "seconds": seconds, "peers": peers, "data": data}
    request = prepare(targets, trust_code=trust_code, **options)  # type: ignore[arg-type]
    from coc_cli.runtime.bench import bench as run_bench

    found = run_bench(request, say=lambda text: print(printable(text), file=sys.stderr))
    from coc_cli.printing.bench import print_bench

    print_bench(found, request)


class _Profiles(TyperGroup):
    """Lists or checks when its first word is none of its commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] != "--help" and args[0] not in self.commands):
            args = ["list", *args]
        return super().parse_args(ctx, args)


profiles = typer.Typer(
    cls=_Profiles,
    help="List the devices that come with coc, check profiles of your own, or measure this machine.",
    subcommand_metavar="[FILE]... | measure RUN|CHECKPOINT",
)
app.add_typer(profiles, name="profiles")


@profiles.command("list")
@answers
def list_profiles(
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="profiles to check instead")] = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """List the devices that come with coc, or check the profiles in FILEs; done where no command is named."""
    from coc_cli.dvfs.profile import read_profile, shipped
    from coc_cli.printing.profiles import print_profiles

    print_profiles([read_profile(name) for name in (map(str, files) if files else shipped())])


@profiles.command("measure")
@answers
def measure_profile(
    target: Annotated[Path, typer.Argument(metavar="RUN|CHECKPOINT", help="a run directory, or a model.safetensors")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the profile to write; NAME.yaml if not given")
    ] = None,
    name: Annotated[str | None, typer.Option(help="the profile's name; the processor's if not given")] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="how many compute; as many as torch likes if not given")
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="how long to time, after a warm-up")] = 5.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N: what is timed")] = "cpu",
    base: Annotated[
        str | None,
        typer.Option(metavar="PROFILE", help="whose numbers stand for what cannot be measured; i7-10700 if not given"),
    ] = None,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Time a network's segments and heads on this machine, and their energy where there is a meter; write a profile."""
    from coc_cli.profiling.measure_profile import measure, prepare

    request = prepare(
        target,
        out=out,
        name=name,
        base=base,
        threads=threads,
        seconds=seconds,
        device=device,
        trust_code=trust_code,
    )
    outcome = measure(request, say=lambda text: print(printable(text), file=sys.stderr))
    from coc_cli.printing.profiles import print_measured

    print_measured(outcome, target)


@app.command()
@answers
def cache(
    keep_days: Annotated[
        float | None, typer.Option(metavar="N", help="remove what was not used for so many days")
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="remove, until no more is left than e.g. 2GB, what no run needs, then the oldest"
        ),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="do remove it; else it is only said")] = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show what runs/.cache holds and which runs below runs/ need it, and remove what is old or too much."""
    from coc_cli.printing.cache import print_cache

    print_cache(keep_days, max_bytes, delete=delete)


@app.command()
@answers
def schema(
    of: Annotated[
        str, typer.Option("--of", metavar="FILE", help="recipe, report, predict-exit or schedule")
    ] = "recipe",
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Print the JSON Schema of recipes, for editors that check and complete YAML, or of a file that coc writes."""
    from coc_cli.recipe.model import schema as recipe_schema
    from coc_cli.report.schema import FILES, part

    if of not in ("recipe", *FILES):
        raise user_error("--of", f"no such schema '{of}'; {did_you_mean(of, ('recipe', *FILES))}")
    print(json.dumps(recipe_schema() if of == "recipe" else part.json_schema(FILES[of]), indent=2))


@app.command()
@answers
def inspect(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="a model.safetensors that coc wrote")],
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show what a checkpoint holds: architecture, lineage, and each layer's shape, bits and BitOps."""
    from coc_cli.nets.checkpoint import checked_header
    from coc_cli.printing.checkpoint import print_header

    print_header(checked_header(checkpoint, trust_code=trust_code), checkpoint)


def _unusable_surroundings(arguments: list[str]) -> str | None:
    """Return why nothing can be done at all, if that is so."""
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return "coc: the current directory is gone; change to one that is there"
    wrong = [one for one in arguments if any("\ud800" <= sign <= "\udfff" for sign in one)]
    return f"{printable(wrong[0])}: is no UTF-8, which reports need; rename the file or folder" if wrong else None


def main() -> None:
    """Run the command line."""
    for descriptor in range(3):  # one that the shell closed would be the next file that is opened
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = sys.stdout or open(1, "w", encoding="utf-8"), sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # in a terminal that knows ASCII only
    if what := _unusable_surroundings(sys.argv[1:]):
        print(what, file=sys.stderr)
        sys.exit(ExitCode.USAGE)
    # Threads that wait must not spin: on a machine with other work to do that makes a step up to 50 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()
