"""A SLURM of this machine alone, from the packages slurm-wlm and munge; it needs root.

Everything of it lies in one folder: two of them can run side by side, and none touches a SLURM of the machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
DAEMONS = ("munged", "slurmctld", "slurmscriptd", "slurmd")
WHERE = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
# The scheduler looks every second, and waits long for answers of a loaded machine.
CONFIG = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={next_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=1
MessageTimeout=100
SlurmdTimeout=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """What it takes to start one here and is not there; empty when nothing is missing."""
    lost = [name for name in PROGRAMS if shutil.which(name, path=WHERE) is None]
    if lost:
        return f"there is no SLURM here ({lost[0]} is missing): apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "a SLURM of one's own needs root"


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """Run it; ``$SLURM_CONF`` names it meanwhile. Its jobs do not outlive it."""
    # A socket's path must be short, and everyone must be able to go there.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().split(".")[0]
    ports = _free_ports()
    config = folder / "slurm.conf"
    cpus = min(os.cpu_count() or 1, 2)
    config.write_text(CONFIG.format(host=host, folder=folder, port=ports[0], next_port=ports[1], cpus=cpus))
    if _version() >= 23:  # older ones look at no cgroups with these plugins
        (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(config)
    running: list[subprocess.Popen[bytes]] = []
    try:
        running.append(_munge(folder))
        for program in ("slurmctld", "slurmd"):
            running.append(_start([_program(program), "-D"], folder / f"{program}.out"))
        _wait(lambda: _says(["sinfo", "-h", "-o", "%T"]) == "idle", running, folder)
        yield
    finally:
        subprocess.run(["scancel", "--user", "root"], capture_output=True, check=False)
        _end_jobs(config)  # for which slurmd would wait
        for process in reversed(running):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
        _end_jobs(config)
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)


def _munge(folder: Path) -> subprocess.Popen[bytes]:
    """A munge of its own: that of the machine may end, or run under another key, while this SLURM is needed."""
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    paths = {"key": key, "socket": folder / "munge.socket"}
    paths |= {name: folder / f"munge.{name}" for name in ("log", "pid", "seed")}
    flags = [
        f"--{name}={path}" if name == "socket" else f"--{name}-file={path}" for name, path in paths.items()
    ]
    process = _start([_program("munged"), "--foreground", "--force", *flags], folder / "munged.out")
    _wait(lambda: _says(["munge", "-n", f"--socket={paths['socket']}"]), [process], folder)
    return process


def _start(command: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


def _says(command: Sequence[str]) -> str:
    """What a command prints; nothing when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _wait(
    holds: Callable[[], object],
    running: Sequence[subprocess.Popen[bytes]],
    folder: Path,
    seconds: float = 180.0,
) -> None:
    """Wait until ``holds`` says so; when it never does, the daemons' logs say why."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline or any(process.poll() is not None for process in running):
            logs = [*folder.glob("*.out"), *folder.glob("*.log"), *folder.glob("munge.log")]
            told = "\n".join(
                line for log in logs for line in log.read_text(errors="replace").splitlines()[-5:]
            )
            raise AssertionError(f"SLURM does not start:\n{told}")
        time.sleep(0.2)


def _end_jobs(config: Path) -> None:
    """End what jobs have left: processes that have this SLURM's configuration in their environment."""
    mark = f"SLURM_CONF={config}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            daemon = (place / "comm").read_text().strip() in DAEMONS or int(place.name) == os.getpid()
            if not daemon and mark in (place / "environ").read_bytes().split(b"\0"):
                os.kill(int(place.name), signal.SIGKILL)


def _version() -> int:
    """The first number of SLURM's version; 0 when it does not say."""
    found = re.search(r"(\d+)\.\d+", _says([_program("slurmd"), "-V"]))
    return int(found[1]) if found else 0


def _program(name: str) -> str:
    return shutil.which(name, path=WHERE) or name


def _free_ports() -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
