"""The process's entry: Ctrl-C ends it with 130 also while the command line is still being imported."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line."""
    stopped: list[int] = []  # a library that is being imported may make another error of an interrupt, or none

    def stop(number: int, _: object) -> None:
        stopped.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
    try:
        from coc_cli.cli import main as run

        run()
    except BaseException as error:
        if stopped or isinstance(error, KeyboardInterrupt):
            sys.exit(130)
        raise


if __name__ == "__main__":
    main()
