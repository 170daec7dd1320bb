# One image for every part of Encore; docker-compose.yml says which part a container is.

FROM python:3.12.11-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.8
WORKDIR /app
# Dependencies first: they change seldom, and their layer is kept while they do not.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --extra console --no-install-project --no-cache
COPY README.md LICENSE ./
COPY data data
COPY features features
COPY events events
COPY model model
COPY server server
RUN uv sync --frozen --no-dev --extra console --no-editable --no-cache

FROM python:3.12.11-slim-bookworm AS run
RUN useradd --create-home --uid 10001 encore && install -d -o encore -g encore /data
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ENCORE_HOME=/data
WORKDIR /app
USER encore
VOLUME /data
EXPOSE 8000 8501 8888
CMD ["encore", "serve"]
