"""`python -m leakage fit --config configs/adult.yaml`."""

from leakage.cli import main

if __name__ == "__main__":
    main()
