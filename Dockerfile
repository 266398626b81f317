# xtrkit serve in a container: docs/serving.md tells how to build and run it.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/xtrkit && /opt/xtrkit/bin/pip install --no-cache-dir --no-compile ".[server]" \
    && rm -rf /opt/xtrkit/lib/python3.12/site-packages/pip*

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home xtrkit
COPY --from=build /opt/xtrkit /opt/xtrkit
ENV PATH=/opt/xtrkit/bin:$PATH PYTHONUNBUFFERED=1
USER xtrkit
# The machine code of the kernels, so that the first start is as quick as any other.
RUN xtrkit warm-up
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["xtrkit", "serve"]
CMD ["/indexes/index", "--host", "0.0.0.0", "--read-key-file", "/run/secrets/read-key"]
