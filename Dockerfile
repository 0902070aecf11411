# docker build --build-arg TORCH=cpu|cuda [--build-arg TORCH_INDEX_URL=...] -t recado .
#
# TORCH_INDEX_URL names another package index, such as a mirror, for that build of PyTorch. Without it `cpu`
# comes from PyTorch's own index of CPU builds, and `cuda` from pip's, whose build for Linux on x86-64 brings
# CUDA along.
#
# docker run --stop-timeout 60 ...: what runs is finished or handed back before the container ends, for which
# Docker's own 10 s are too short (worker.drain_s, and the stores after it).
FROM python:3.12-slim

ARG TORCH=cpu
ARG TORCH_INDEX_URL=""

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_worker_niceness=0 \
    RAY_SERVE_ENABLE_HA_PROXY=1 \
    RAY_SERVE_THROUGHPUT_OPTIMIZED=1 \
    RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HOME=/data/models \
    RECADO_DATA_DIR=/data

RUN useradd --create-home --uid 10001 recado \
    && install --directory --owner recado --group recado --mode 0700 /data
WORKDIR /app

# The dependencies first: they change less often than the code.
COPY requirements.lock ./
RUN case "$TORCH" in \
        cpu) : "${TORCH_INDEX_URL:=https://download.pytorch.org/whl/cpu}" ;; \
        cuda) ;; \
        *) echo "TORCH must be cpu or cuda, not $TORCH" >&2; exit 1 ;; \
    esac \
    && torch="$(grep '^torch==' requirements.lock)" \
    && if [ -n "$TORCH_INDEX_URL" ]; then \
           if [ "$TORCH" = cpu ]; then deps=--no-deps; else deps=; fi; \
           pip install $deps --index-url "$TORCH_INDEX_URL" "$torch"; \
       fi \
    && pip install -r requirements.lock

COPY pyproject.toml README.md config.yaml ./
COPY models models
COPY serve_app serve_app
COPY deployments deployments
COPY demo demo
# Inside a container the service must listen on its network; what faces the outside is the container's
# published port.
RUN pip install --no-deps --no-build-isolation -e . \
    && sed -i 's/^\( *host:\) 127\.0\.0\.1/\1 0.0.0.0/' config.yaml

USER recado
VOLUME /data
EXPOSE 8000

HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz/live', timeout=4)"]

# Serve drains when it is interrupted.
STOPSIGNAL SIGINT
CMD ["serve", "run", "config.yaml"]
