"""coc profiles: devices, and measuring this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from coc_cli.verbs.command import AsJson, Debug, Quiet, TrustCode, Verbose, answers, one_object, results, speaker


class _Profiles(TyperGroup):
    """Lists or checks when its first word is none of its commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in ("-h", "--help") and args[0] not in self.commands):
            args = ["list", *args]
        return super().parse_args(ctx, args)


profiles = typer.Typer(
    cls=_Profiles,
    help="List devices, check profiles, or measure this machine. Without a command it lists those that come with coc.",
    subcommand_metavar="[FILE]... | measure RUN|CHECKPOINT",
)


@profiles.command("list")
@answers
def list_profiles(
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="profiles to check instead")] = None,
    as_json: AsJson = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """List the devices that come with coc. Or check the profiles in FILEs; done where no command is named."""
    from coc_cli.dvfs.profile import read_profile, shipped

    found = [read_profile(name) for name in (map(str, files) if files else shipped())]
    if as_json:
        print(one_object({"profiles": [profile.model_dump(mode="json") for profile in found]}), end="")
    else:
        from coc_cli.printing.profiles import print_profiles

        print_profiles(found)


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
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Time a network's parts here, and write a profile. Segments and heads; their energy too where there is a meter."""
    from coc_cli.profiling.measure_profile import measure, prepare

    with speaker(quiet=quiet, verbose=verbose) as say, results(as_json=as_json) as stdout:
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
        outcome = measure(request, say=say)
        if as_json:
            stdout.write(one_object({"path": str(outcome.path), "profile": outcome.profile.model_dump(mode="json")}))
        else:
            from coc_cli.printing.profiles import print_measured

            print_measured(outcome, target)
