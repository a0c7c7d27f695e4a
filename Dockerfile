# The two commands that the README starts with, as an image that runs as an ordinary user:
#
#   docker build --tag leakage .
#   docker run --rm --volume leakage-data:/app/data --volume leakage-logs:/app/logs leakage
#
# What follows the name of the image takes the place of `fit --config configs/adult.yaml`.
#
# BASE is any image of a Debian or Ubuntu with Python 3.11 or newer, or with none. PIP_EXTRA_INDEX_URL
# is an index of other builds of PyTorch: for CPUs alone, which makes the image much smaller, or for
# a certain CUDA. For GPUs name an image of CUDA as BASE, and run with `--gpus all`:
#
#   docker build --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 --tag leakage:cuda .
ARG BASE=python:3.11-slim
FROM ${BASE}

# An image of CUDA has no Python.
RUN python3 -c "import ensurepip" || (apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*)
RUN python3 -m venv /opt/environment
ENV PATH=/opt/environment/bin:$PATH PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1

# The folders of a run are its owner's alone, as are the files in them.
RUN useradd --create-home leakage \
    && install --directory --owner leakage --mode 700 /app/data /app/logs
WORKDIR /app

# Before the code itself, so that a change of it does not install everything again.
COPY pyproject.toml README.md LICENSE ./
COPY leakage/__init__.py leakage/
ARG PIP_EXTRA_INDEX_URL=""
RUN pip install -e .
COPY leakage leakage
COPY configs configs

USER leakage
VOLUME ["/app/data", "/app/logs"]
ENTRYPOINT ["sh", "-c", "umask 077 && exec python -m leakage \"$@\"", "leakage"]
CMD ["fit", "--config", "configs/adult.yaml"]
