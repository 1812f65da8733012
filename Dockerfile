# landscape in a container: docker build -t landscape . (CPU), or with --build-arg TORCH=cu128 for a GPU.
#   docker run --rm -v "$PWD:/work" landscape measure checkpoint.pt
#   docker run --rm --gpus all -v "$PWD:/work" landscape measure checkpoint.pt
FROM python:3.12-slim
ARG TORCH=cpu
WORKDIR /source
# torch first: it is the largest layer and changes least.
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/${TORCH}
COPY pyproject.toml setup.py README.md LICENSE NOTICE ./
COPY landscape landscape
COPY cli cli
RUN pip install --no-cache-dir '.[html,verify]'
WORKDIR /work
ENTRYPOINT ["landscape"]
CMD ["--help"]
