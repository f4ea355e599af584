"""A process that runs the jobs which a launcher sends it: ``python -m xltjax.study.launch.worker``.

Jobs come as lines on its standard input, and their outcomes go as lines to its standard output. It never outlives the
launcher: when its input ends, it ends at once, also in the middle of a stage.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import sys
import threading

from xltjax.study.launch.jobs import Job
from xltjax.study.launch.runner import run


def main() -> None:
    """Run jobs until the launcher is gone."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is printed between two jobs is no reply
    jobs: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    while True:
        outcomes = run(Job.from_json(jobs.get()))
        replies.write(json.dumps([dataclasses.asdict(each) for each in outcomes]) + "\n")
        replies.flush()


def _listen(jobs: queue.Queue[str]) -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)  # without a launcher nobody would know of this process, and the next one runs the stage again


if __name__ == "__main__":
    main()
