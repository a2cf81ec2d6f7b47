"""Running the jobs of a design: parents first, beside each other, each kept in a journal when it is done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

from coc_cli.errors import RunError
from coc_cli.executors.executor import Executor
from coc_cli.files.run_directory import CACHE, RESULT, STAGE_RESULT
from coc_cli.order.design import Job
from coc_cli.order.work import Outcome, StageFiles, run_job, write_stage

JOURNAL, WORK = "journal.jsonl", "work"
MOST_LOSSES = 10  # of workers, for one job


class Journal:
    """The finished jobs of an experiment, a line each; a line that was cut off counts for nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []
        self.outcomes = dict(filter(None, map(_entry, lines)))
        if lines and lines[-1]:  # begins anew behind a line that was cut off
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def add(self, job: str, outcome: Outcome) -> None:
        """Keep what a job measured, on disk before this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"id": job, **asdict(outcome)}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.outcomes[job] = outcome

    def forget(self) -> None:
        """Begin anew."""
        self.path.unlink(missing_ok=True)
        self.outcomes = {}


def _entry(line: str) -> tuple[str, Outcome] | None:
    try:
        entry = json.loads(line)
        return entry.pop("id"), Outcome(**entry)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def run_jobs(
    jobs: Mapping[str, Job], executor: Executor, journal: Journal, directory: Path, say: Callable[[str], None]
) -> dict[str, Outcome]:
    """Run what the journal has not, and return what every job measured; raises `RunError` for one that fails."""
    for job in [one for one in jobs if one in journal.outcomes and _is_needed(one, jobs, journal)]:
        del journal.outcomes[job]  # the cache was cleared since
    pending = _Pending(jobs, executor, journal, directory)
    total, running = len(jobs), pending.ready(jobs)
    while running:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            job = running.pop(future)
            if (error := future.exception()) is not None:
                running.update(pending.again(job, error))
                continue
            outcome, files = future.result()
            if files is not None:
                write_stage(files)
            journal.add(job, outcome)
            text = f"{_chain(jobs[job])}: validation {abs(outcome.score):.4f}"
            say(f"{len(journal.outcomes.keys() & jobs.keys())} of {total}  {text}, trained in {outcome.seconds:.0f} s")
            running.update(pending.ready(job_ for job_ in jobs if jobs[job_].parent == job))
    return {job: journal.outcomes[job] for job in jobs}


def _is_needed(job: str, jobs: Mapping[str, Job], journal: Journal) -> bool:
    """Return whether a finished job's stage is not in the cache, where one that is not finished goes on from it."""
    has_more = any(one.parent == job and name not in journal.outcomes for name, one in jobs.items())
    return has_more and not (CACHE / journal.outcomes[job].key / STAGE_RESULT).is_file()


class _Pending:
    """Submits jobs whose parents are done."""

    def __init__(self, jobs: Mapping[str, Job], executor: Executor, journal: Journal, directory: Path) -> None:
        self.jobs, self.executor, self.journal, self.directory = jobs, executor, journal, directory
        self.losses: dict[str, int] = {}

    def ready(self, candidates: Iterable[str]) -> dict[Future[Any], str]:
        """Submit those of the candidates, and of what is behind them, that can run and have not."""
        submitted: dict[Future[Any], str] = {}
        for job in candidates:
            parent = self.jobs[job].parent
            if job not in self.journal.outcomes and (parent is None or parent in self.journal.outcomes):
                submitted[self._submit(job)] = job
        return submitted

    def _submit(self, job: str) -> Future[Any]:
        directory = self.directory / WORK / job
        given = () if self.executor.shares_files else tuple(self._earlier(job))
        arguments = self.jobs[job].content, str(Path.cwd()), str(directory.resolve()), given
        return self.executor.submit(_run, *arguments, not self.executor.shares_files)

    def _earlier(self, job: str) -> Iterable[StageFiles]:
        parent = self.jobs[job].parent
        if parent is None:
            return
        yield from self._earlier(parent)
        key = self.journal.outcomes[parent].key
        yield StageFiles(key, (CACHE / key / RESULT).read_bytes(), (CACHE / key / STAGE_RESULT).read_bytes())

    def again(self, job: str, error: BaseException) -> dict[Future[Any], str]:
        """Submit a job again whose worker was lost; raises `RunError` for one that failed, or is lost often."""
        self.losses[job] = self.losses.get(job, 0) + 1
        if not self.executor.is_lost(error):
            raise RunError(f"{_chain(self.jobs[job])}: {error}") from error
        if self.losses[job] > MOST_LOSSES:
            what = f"its worker died {self.losses[job]} times; is there too little memory? --jobs 1 needs least"
            raise RunError(f"{_chain(self.jobs[job])}: {what}") from error
        return {self._submit(job): job}


def _run(*arguments: Any) -> tuple[Outcome, StageFiles | None]:
    *first, returns_files = arguments
    return run_job(*first, returns_files=returns_files)


def _chain(job: Job) -> str:
    """Return a job's chain in words."""
    names = [next(iter(link)) for link in job.content["chain"]]
    return f"seed {job.seed}, {', '.join(names) or 'baseline'}"
