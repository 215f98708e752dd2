FROM python:3.12-slim

WORKDIR /punchcard
COPY pyproject.toml ./
COPY app ./app
COPY workers ./workers
RUN pip install --no-cache-dir '.[tracing]' && useradd --create-home punchcard && install -d -o punchcard /data
USER punchcard
ENTRYPOINT ["punchcard"]
CMD ["api"]
