FROM python:3.12.8-slim-bookworm

WORKDIR /punchcard
COPY pyproject.toml LICENSE README.md ./
COPY app ./app
COPY workers ./workers
RUN pip install --no-cache-dir '.[tracing]' && useradd --create-home punchcard && install -d -o punchcard -m 700 /data
USER punchcard
ENTRYPOINT ["punchcard"]
CMD ["api"]
