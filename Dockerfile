# `train predict` on CPU: no network, a disk that is read-only but for /tmp, not as root.
#
#   docker build -t tilth-predict --build-arg PIP_EXTRA_INDEX_URL=URL .     # URL: PyTorch's index of CPU wheels, 1 GB instead of 5
#   docker run --rm -i --network none --read-only --tmpfs /tmp --memory 4g --cpus 2 \
#       -v "$PWD/runs/ID:/adapter:ro" tilth-predict < in.csv > out.csv
#
# A base model that lies in a folder: -v /path/to/base:/base:ro, and model=/base behind the image's name.
# Over HTTP: -p 8000:8000 instead of --network none, and serve=true behind the image's name.

FROM python:3.12-slim AS build
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/tilth
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY prompts prompts
COPY curation curation
COPY synth synth
COPY train train
RUN /opt/tilth/bin/pip install --constraint constraints.txt ".[train]" pillow \
    && /opt/tilth/bin/python -m compileall -q /opt/tilth/lib

FROM python:3.12-slim
COPY --from=build /opt/tilth /opt/tilth
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tilth
ENV PATH=/opt/tilth/bin:$PATH \
    HF_HUB_OFFLINE=1 \
    HF_HOME=/tmp/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/tmp/numba \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=2 \
    TILTH_THREADS=2 \
    TILTH_ADAPTER=/adapter \
    TILTH_HOST=0.0.0.0
USER 10001
WORKDIR /tmp
EXPOSE 8000
ENTRYPOINT ["train", "predict"]
