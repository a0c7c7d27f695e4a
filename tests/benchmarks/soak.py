"""Soak: many epochs with an attack each round; memory, files and processes stay as they are.

`python -m tests.benchmarks.soak [EPOCHS]` trains on a small stand-in of Adult.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from leakage.data.standins.adult import ADULT

CONFIG = Path(__file__).resolve().parent.parent.parent / "configs" / "adult.yaml"
EPOCHS = 200
LOOKS = (0.1, 0.5, 1.0)  # of the epochs


def words_of(root: Path, logs: Path, epochs: int) -> list[str]:
    """The main job in small."""
    settings = {
        "data.root": str(root),
        "data.standin_size": 1500,
        "attack.k": 4,
        "attack.rounds": list(range(epochs + 1)),
        "attack.shadow_batches": 20,
        "attack.calibrate_batches": 20,
        "attack.trials": 20,
        "attack.adversaries": [{"class_path": "leakage.adversaries.LogisticRegression"}],
        "attack.layer_map": False,
        "trainer.max_epochs": epochs,
        "trainer.enable_progress_bar": False,
        "trainer.logger.save_dir": str(logs),
    }
    words = [sys.executable, "-m", "leakage", "fit", "--config", str(CONFIG)]
    for key, value in settings.items():
        words += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
    return words


def members(session: int) -> list[int]:
    """The processes of a session, the oldest first."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def mebibytes(pid: int) -> float:
    """What a process has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def look(session: int, folder: Path) -> str:
    """One row of the table."""
    pids = members(session)
    memory = [f"{mebibytes(pid):.0f}" for pid in pids]
    handles = [str(len(list(Path(f"/proc/{pid}/fd").iterdir()))) for pid in pids]
    files = sum(path.is_file() for path in folder.rglob("*"))
    shared = len(list(Path("/dev/shm").iterdir()))
    return f"{' + '.join(memory):>13}  {' + '.join(handles):>9}  {len(pids):9}  {shared:8}  {files}"


def main(epochs: int) -> None:
    """Prints a row when a tenth, half and all of the rounds have been played."""
    with tempfile.TemporaryDirectory() as place:
        root, logs = Path(place) / "adult", Path(place) / "logs"
        root.mkdir()
        ADULT.write(root, size=1500, seed=0)
        folder, start = logs / "adult" / "version_0", time.monotonic()
        with (Path(place) / "log").open("w") as log:
            run = subprocess.Popen(
                words_of(root, logs, epochs), stdout=log, stderr=log, start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        print("rounds  MiB in memory  open files  processes  /dev/shm  files left  seconds")
        for share in LOOKS:
            awaited = folder / "attack" / f"round_{round(share * epochs):05d}.safetensors"
            while not awaited.exists():
                if run.poll() is not None:
                    sys.exit((Path(place) / "log").read_text()[-3000:])
                time.sleep(0.01)
            seconds = time.monotonic() - start
            print(f"{share * epochs:6.0f}  {look(run.pid, folder)}  {seconds:.0f}", flush=True)
        print(f"exit code {run.wait()}, processes left {len(members(run.pid))}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else EPOCHS)
