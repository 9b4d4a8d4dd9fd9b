# The pipeline with everything it needs, on one NVIDIA GPU. See docs/gpu.md, "Containers".
# CUDA and cuDNN come as Python packages of requirements-gpu.lock, the driver from the host.
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

# Debian keeps one version of a package only: an older one that is named here would be gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 ulna \
    && install -d -o ulna -g ulna /home/ulna/ulna

USER 1000
WORKDIR /home/ulna/ulna

# Before the rest: an edit of the code installs nothing again.
COPY --chown=1000:1000 Makefile requirements.lock requirements-gpu.lock ./
RUN make setup GPU=1
ENV PATH=/home/ulna/ulna/.venv/bin:$PATH NVIDIA_DRIVER_CAPABILITIES=compute,utility

COPY --chown=1000:1000 . .
CMD ["make", "repro", "GPU=1"]
