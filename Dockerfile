# The compiled reader needs a compiler once; the image has none. python3-dev is for a base whose Python is Debian's own.
FROM python:3.14-slim AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev python3-dev
RUN --mount=type=bind,target=/src,rw --mount=type=cache,target=/var/cache/pip \
    pip wheel --cache-dir /var/cache/pip --no-deps --wheel-dir /wheels /src

FROM python:3.14-slim

# Volumes that are mounted at these two take over their owner: for logs, and for what outlives a restart.
RUN useradd --system --no-create-home --uid 10001 redirect \
 && install --directory --owner redirect /var/log/redirect /var/lib/redirect

# Mounted for this one step: the image holds the installed packages and no second copy of them.
RUN --mount=type=bind,source=misc/constraints.txt,target=/constraints.txt \
    --mount=type=bind,from=build,source=/wheels,target=/wheels --mount=type=cache,target=/var/cache/pip \
    pip install --cache-dir /var/cache/pip -c /constraints.txt /wheels/*.whl

# `make image` adds version, commit and time.
LABEL org.opencontainers.image.title="redirect" \
      org.opencontainers.image.description="A weighted redirect service and gateway" \
      org.opencontainers.image.licenses="MIT"

USER 10001
EXPOSE 8080
# As PID 1 it gets no TERM before its handlers are set, 0.1 s after the start: `docker run --init`, as compose has it. A
# pod of Kubernetes gets TERM after preStop.
CMD ["redirect", "serve"]
