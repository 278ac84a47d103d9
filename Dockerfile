FROM python:3.14-slim

RUN useradd --system --no-create-home --uid 10001 redirect

# The sources are mounted for this one step: the image holds the installed package and no second copy of it.
RUN --mount=type=bind,target=/src,rw --mount=type=cache,target=/var/cache/pip \
    pip install --cache-dir /var/cache/pip -c /src/misc/constraints.txt /src

USER redirect
EXPOSE 8080
CMD ["redirect", "serve"]
