# The package in an image, on a CPU or a CUDA base:
#   docker build -t genomic-icl .
#   docker build -t genomic-icl:cuda --build-arg BASE=nvidia/cuda:12.6.3-runtime-ubuntu24.04 .
#   docker run --rm -v "$PWD:/work" genomic-icl icl-run task=synthetic_easy method=soft_prompt k=4
# PIP_OPTIONS may name an index, such as that of CPU builds of torch.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

ARG PIP_OPTIONS=""
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# A CUDA base has no Python; in a Python image the branch is skipped. Versions are those of the base.
# hadolint ignore=DL3008
RUN if ! command -v python3 > /dev/null; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; \
    fi \
    && python3 -m venv /opt/icl

ENV PATH=/opt/icl/bin:$PATH \
    PYTHONUNBUFFERED=1

COPY constraints.txt pyproject.toml README.md LICENSE MANIFEST.in /src/
COPY backbone /src/backbone
COPY tasks /src/tasks
COPY prompts /src/prompts
COPY icl /src/icl
COPY experiments /src/experiments
# Word splitting of PIP_OPTIONS is wanted.
# hadolint ignore=SC2086
RUN pip install --no-cache-dir ${PIP_OPTIONS} --constraint /src/constraints.txt "/src[page,variants,tracks]" \
    && rm -rf /src

RUN useradd --create-home --uid 10001 icl
USER 10001
WORKDIR /work
CMD ["icl-run", "--help"]
