"""The commands that load torch: all but report and help."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Sequence

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.exceptions import SIGTERMException

from leakage.cli.auditing import audit
from leakage.cli.errors import sentence_of
from leakage.cli.standin import write_standin
from leakage.cli.training import train
from leakage.distributed import ends_of_others
from leakage.errors import LeakageError, Requeued


def run_command(args: Sequence[str] | None) -> None:
    """Runs a command with these words, or with those of the process, as `main` does."""
    _set_up_libraries()
    words = sys.argv[1:] if args is None else list(args)
    try:
        if words[:1] == ["standin"]:
            write_standin(words[1:])
        elif words[:1] == ["sweep"]:
            from leakage.cli.sweeping import sweep  # submitit takes hold of the standard streams

            sweep(words[1:])
        elif words[:1] == ["completion"]:
            from leakage.cli.completion import write_completion  # it knows all the others

            write_completion(words[1:])
        elif words[:1] == ["audit"]:
            audit(None if args is None else words)
        else:
            with ends_of_others():
                train(None if args is None else words)
    except Requeued:  # the job is over, and SLURM's SIGTERM is not to spoil its exit code
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except SIGTERMException:  # which would exit with code 0
        print("stopped by SIGTERM; `--ckpt_path last` goes on from here", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    except (LeakageError, MisconfigurationException, OSError) as error:  # OSError names its file
        print(f"error: {sentence_of(error)}", file=sys.stderr)
        sys.exit(2)


def _show_thread(raised: threading.ExceptHookArgs) -> None:
    """Leaves out what a thread that writes events could not write: the run ends with it anyway."""
    if (
        not issubclass(raised.exc_type, OSError)
        or "tensorboard" not in type(raised.thread).__module__
    ):
        threading.__excepthook__(raised)


def _set_up_libraries() -> None:
    """Hides advertisements of libraries, and warnings about them."""
    threading.excepthook = _show_thread
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "Tip:" not in record.getMessage()
    )
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Of a run that goes on: they are its own, and Resume loads the batches of the epoch again.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* is not empty")
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable")
