"""`python -m leakage fit --config configs/adult.yaml`."""

import os

# Idle threads that spin steal the cores of a busy machine: training became 40 times slower there.
# Read when the libraries are loaded, so it stands before them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from leakage.cli import main

if __name__ == "__main__":
    main()
