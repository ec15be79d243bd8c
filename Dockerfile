# syntax=docker/dockerfile:1
# docker build -t latentd .                                     any device torch finds
# docker build -t latentd --build-arg DEVICE=cpu \
#     --build-arg TORCH_INDEX=<address of PyTorch's CPU wheels> .   a small image without CUDA
# docker build -t latentd:cuda --build-arg DEVICE=cuda .        refuses to start without a GPU
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/latentd
ENV PATH=/opt/latentd/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
# torch first, in a layer of its own: it is most of the image and changes least.
RUN torch=$(grep '^torch==' constraints.txt) && \
    if [ -n "$TORCH_INDEX" ]; then pip install --index-url "$TORCH_INDEX" "$torch"; \
    else pip install "$torch"; fi
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY metrics metrics
COPY training training
COPY service service
RUN pip install -c constraints.txt .

FROM python:${PYTHON_VERSION}-slim
ARG DEVICE=auto
LABEL org.opencontainers.image.title="latentd" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Generative models and their latent spaces as a REST service"
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin latentd && \
    mkdir /bundles /state && chown latentd /bundles /state
COPY --from=build /opt/latentd /opt/latentd
ENV PATH=/opt/latentd/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LATENTD_HOST=0.0.0.0 \
    LATENTD_PORT=8000 \
    LATENTD_BUNDLES_DIR=/bundles \
    LATENTD_STATE_DIR=/state \
    LATENTD_DEVICE=${DEVICE} \
    LATENTD_LOG_FORMAT=json
WORKDIR /tmp
USER latentd
VOLUME /bundles /state
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "service", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "service"]
