"""A throw-away Slurm cluster of several nodes on this machine.

It needs Debian's packages slurmctld, slurmd, slurm-client and munge, root, and a host name that resolves to 127.0.0.1.
Key, sockets, state and logs lie in one folder, and everything listens on 127.0.0.1 only. There is no systemd and no
cgroup. Two daemons on one host need a Slurm that is built with multiple-slurmd, like Debian's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
PATH = f"{os.environ['PATH']}:/usr/sbin"
START_SECONDS = 20

# cred_expire is also the delay of a requeued task, in seconds. 5 is the minimum, 120 the default.
CONFIG = """
ClusterName=fixture
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,bf_min_age_reserve=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=6
MessageTimeout=5
KillWait=5
Waittime=0
SlurmdParameters=config_overrides
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Why there can be no such cluster here, or None."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]
    if missing:
        return f"no {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)"
    if os.geteuid() != 0:
        return "a Slurm cluster of several nodes on one machine needs root"
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = "nothing"
    return None if address == "127.0.0.1" else f"the host name resolves to {address}, not to 127.0.0.1"


class Cluster:
    """`nodes` nodes called n1, n2 ... with `cpus` CPUs each, in partitions `low` (default) and `high` (preempts it)."""

    def __init__(self, folder: Path, nodes: int = 2, cpus: int = 1) -> None:
        self.folder, self.names = folder, [f"n{number + 1}" for number in range(nodes)]
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(folder / "slurm.conf")}
        for name in ("state", "spool", "munge"):
            (folder / name).mkdir(parents=True)
        folder.chmod(0o755)
        (folder / "munge").chmod(0o700)
        self._start_munge()
        ports = _free_ports(nodes + 1)
        host = socket.gethostname().partition(".")[0]
        lines = [CONFIG.format(host=host, folder=folder, ports=ports)]
        for name, port in zip(self.names, ports[1:], strict=True):
            where = f"NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
            lines.insert(0, f"NodeName={name} {where} CPUs={cpus} RealMemory=4000 State=UNKNOWN")
        (folder / "slurm.conf").write_text("\n".join(lines))
        self._call("slurmctld", "-c")
        for name in self.names:
            self.start_node(name)

    def _start_munge(self) -> None:
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {"key-file": key, "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log"}
        flags = [f"--{flag}={self.folder / name}" for flag, name in {**files, "seed-file": "munge/seed"}.items()]
        self._call("munged", "--force", *flags)

    def _call(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def start_node(self, name: str) -> None:
        (self.folder / "spool" / name).mkdir(exist_ok=True)
        self._call("slurmd", "-N", name)
        idle = ("sinfo", "--noheader", "--Node", "--partition=low", "--states=idle", "--format=%N")
        wait_for(f"node {name}", lambda: name in self._call(*idle), START_SECONDS)

    def crash_node(self, name: str) -> None:
        """End the node as if it lost power: first its daemons, which could otherwise report it, then its tasks."""
        daemons = _processes(lambda path: str(self.folder / f"slurmd-{name}.log") in _open_files(path))
        tasks = _processes(lambda path: {f"SLURMD_NODENAME={name}", self._mark} <= _environment(path))
        for process in [*daemons, *tasks]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        (self.folder / f"slurmd-{name}.pid").unlink(missing_ok=True)

    @property
    def _mark(self) -> str:
        return f"SLURM_CONF={self.folder / 'slurm.conf'}"

    def running(self) -> dict[str, str]:
        """The node of each array task that runs now."""
        return dict(line.split() for line in self._call("squeue", "-hrt", "RUNNING", "-o", "%i %N").splitlines())

    def processes_of(self, task: str) -> list[int]:
        """The Python processes of an array task."""
        array, _, index = task.partition("_")
        marks = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={index}", self._mark}
        return _processes(lambda path: b"submitit.core._submit" in _command_line(path) and marks <= _environment(path))

    def submit(self, *flags: str) -> None:
        """Submit a job of another user."""
        self._call("sbatch", "--output=/dev/null", *flags)

    def stop(self) -> None:
        """Kill every process that has this cluster's configuration in its environment or a file of it open."""
        mine = _processes(
            lambda path: self._mark in _environment(path) or any(str(self.folder) in name for name in _open_files(path))
        )
        for process in {*mine} - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def wait_for(what: str, condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _processes(condition: Callable[[Path], bool]) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if condition(path):
                found.append(int(path.name))
    return found


def _environment(path: Path) -> set[str]:
    return set((path / "environ").read_bytes().decode(errors="replace").split("\0"))


def _command_line(path: Path) -> bytes:
    return (path / "cmdline").read_bytes()


def _open_files(path: Path) -> list[str]:
    names = []
    for link in (path / "fd").iterdir():
        with contextlib.suppress(OSError):
            names.append(str(link.readlink()))
    return names
