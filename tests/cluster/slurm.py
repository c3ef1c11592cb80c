"""A SLURM of two nodes on this machine, for the tests alone: Debian's packages, started and stopped by root, no accounting.

Both nodes are this machine; each pretends to have 16 processors and four GPUs. Snakemake's job step drops SLURM_CONF, so the
configuration has to lie in /etc/slurm; a machine that has one of its own is left alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from debian_packages import install

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
ETC = Path("/etc/slurm")
OURS = "ClusterName=llometest"
NODES = ("node1", "node2")


def why_not() -> str | None:
    """What keeps this machine from running the tests' cluster, if anything; installs the packages where that is possible."""
    if os.geteuid() != 0:
        return "a SLURM for tests is started by root"
    if (ETC / "slurm.conf").exists() and OURS not in (ETC / "slurm.conf").read_text():
        return f"{ETC}/slurm.conf belongs to another SLURM"
    if all(map(shutil.which, PROGRAMS)):
        return None
    if shutil.which("apt-get") is None:
        return "slurm-wlm and munge are not installed"
    return install("slurm-wlm", "munge")


class Cluster:
    """munged, slurmctld and a slurmd for each node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        self.stop()
        for name in ("state", "log", "dev"):
            (self.folder / name).mkdir(parents=True)
        ETC.mkdir(exist_ok=True)
        devices = [self.folder / "dev" / f"gpu{i}" for i in range(4)]
        for device in devices:  # a count alone is refused: each GPU is a character device
            os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))
        files = f"{self.folder}/dev/gpu[0-3]"
        (ETC / "gres.conf").write_text(f"AutoDetect=off\nNodeName=node[1-2] Name=gpu Type=a100 File={files}\n")
        (ETC / "slurm.conf").write_text(self._configuration())
        hosts = Path("/etc/hosts")
        for node in NODES:
            if node not in hosts.read_text().split():
                with hosts.open("a") as file:
                    file.write(f"127.0.0.1 {node}\n")
        subprocess.run(["install", "-d", "-m", "755", "-o", "munge", "-g", "munge", "/run/munge"], check=True)
        subprocess.run(["runuser", "-u", "munge", "--", "/usr/sbin/munged", "--force"], check=True)
        subprocess.run(["slurmctld"], check=True)
        for node in NODES:
            subprocess.run(["slurmd", "-N", node], check=True)
        deadline = time.monotonic() + 30
        while self.sinfo().count("idle") < len(NODES):
            if time.monotonic() > deadline:
                logs = "".join(path.read_text()[-2000:] for path in (self.folder / "log").iterdir())
                raise RuntimeError(f"the nodes are not idle: {self.sinfo()}\n{logs}")
            time.sleep(0.2)

    def stop(self) -> None:
        for path in (*self.folder.glob("slurmd-*.pid"), self.folder / "slurmctld.pid", Path("/run/munge/munged.pid")):
            if path.is_file() and path.read_text().strip():
                subprocess.run(["kill", path.read_text().strip()], check=False, capture_output=True)
        time.sleep(1)
        shutil.rmtree(self.folder, ignore_errors=True)
        if (ETC / "slurm.conf").exists() and OURS in (ETC / "slurm.conf").read_text():
            for name in ("slurm.conf", "gres.conf"):
                (ETC / name).unlink(missing_ok=True)

    @staticmethod
    def sinfo() -> str:
        return subprocess.run(["sinfo", "-h", "-N", "-p", "cpu", "-o", "%T"], capture_output=True, text=True).stdout

    @staticmethod
    def jobs() -> list[dict[str, str]]:
        """Every job since the start, as scontrol tells it."""
        said = subprocess.run(["scontrol", "-o", "show", "jobs"], capture_output=True, text=True, check=True).stdout
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in said.splitlines()]

    def _configuration(self) -> str:
        nodes = "\n".join(
            f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={16821 + i} CPUs=16 CoresPerSocket=16"
            " RealMemory=64000 Gres=gpu:a100:4 State=UNKNOWN"
            for i, node in enumerate(NODES)
        )
        return f"""{OURS}
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
SlurmctldPort=16817
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd-%n.pid
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool-%n
SlurmctldLogFile={self.folder}/log/slurmctld.log
SlurmdLogFile={self.folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
ReturnToService=2
KillWait=5
MinJobAge=3600
InactiveLimit=0
Waittime=0
GresTypes=gpu
{nodes}
PartitionName=cpu Nodes=ALL Default=YES MaxTime=1-00:00:00 State=UP
PartitionName=gpu Nodes=ALL MaxTime=12:00:00 State=UP
"""
