# One image for every part of Encore; docker-compose.yml says which part a container is.

# The libraries: they change seldom, and their layer (1.3 GB) is kept while they do not.
FROM python:3.12.11-slim-bookworm AS libraries
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.8
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-project --no-cache \
    --extra avro --extra boost --extra console --extra lake --extra oidc --extra tracing --extra tune

# Encore itself, apart from them: a change of code is a layer of 4 MB.
FROM libraries AS own
COPY README.md LICENSE ./
COPY data data
COPY features features
COPY events events
COPY model model
COPY server server
RUN uv pip install --no-cache --no-deps --python .venv --target own .
# What `encore --version` says.
ARG COMMIT=
RUN printf %s "$COMMIT" >own/server/commit

FROM python:3.12.11-slim-bookworm AS run
# LightGBM's threads.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 encore && install -d -o encore -g encore /data
COPY --from=libraries /app/.venv /app/.venv
COPY deploy/image/well /usr/local/bin/well
COPY feast /app/feast
COPY --from=own /app/own /app/own
ENV PATH=/app/own/bin:/app/.venv/bin:$PATH PYTHONPATH=/app/own PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ENCORE_HOME=/data HOME=/tmp
WORKDIR /app
USER encore
VOLUME /data
EXPOSE 8000 8501 8888
CMD ["encore", "serve"]
