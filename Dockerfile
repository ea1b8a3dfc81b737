# syntax=docker/dockerfile:1
# feedbridge, as small and as safe as its parts allow: a virtual environment on a slim base, nothing that builds or installs.
# Build:  docker build --tag feedbridge:0.1.0 .

ARG PYTHON=3.13-slim-trixie

FROM python:${PYTHON} AS build
# For the extension; it stays in this stage. Debian keeps but one version of a package.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# First what rarely changes.
COPY requirements/run.txt requirements/build.txt requirements/
COPY image/build.sh image/
RUN ["sh", "image/build.sh", "libraries", "/opt/feedbridge"]
COPY pyproject.toml README.md LICENSE ./
COPY native native
COPY bridge bridge
COPY schemas schemas
COPY docs/runbooks docs/runbooks
RUN ["sh", "image/build.sh", "program", "/opt/feedbridge"]

FROM python:${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="feedbridge" \
      org.opencontainers.image.description="Live WebSocket feeds into Kafka, exactly once." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A shell remains, of the base; pip, which installs, does not.
RUN python -m pip uninstall --yes --quiet pip \
 && groupadd --gid 10001 feedbridge \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin feedbridge \
 && install --directory --owner 10001 --group 10001 --mode 0750 /var/lib/feedbridge
COPY --from=build /opt/feedbridge /opt/feedbridge
ENV PATH=/opt/feedbridge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/feedbridge
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["feedbridge"]
CMD ["--help"]
