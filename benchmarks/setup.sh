#!/bin/sh
# One environment for each peer, as their pins clash; what is there already is left alone.
#   BENCH_VENVS   where they go (default .venvs beside this file); about 6 GB
#   TORCH_INDEX   address of PyTorch's CPU wheels, where the usual index has CUDA builds only
#   PYTHON        which Python (default python3)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venvs=${BENCH_VENVS:-$here/.venvs}

command -v wrk >/dev/null || {
    echo "wrk is missing: install it first (on Debian: apt-get install wrk)" >&2
    exit 1
}

is_complete() { # python, pins: whether exactly these versions are installed
    python=$1; shift
    [ -x "$python" ] && "$python" - "$@" <<'END'
import sys
from importlib.metadata import PackageNotFoundError, version

for pin in sys.argv[1:]:
    name, wanted = pin.split("==")
    try:
        found = version(name.split("[")[0]).split("+")[0]
    except PackageNotFoundError:
        found = None
    if found != wanted:
        sys.exit(1)
END
}

make_venv() { # name, pins of this peer
    name=$1; shift
    python=$venvs/$name/bin/python
    set -- torch==2.13.0 numpy==2.4.6 pillow==13.0.0 orjson==3.13.0 \
        "uvicorn[standard]==0.54.0" starlette==1.10.0 "$@"
    if is_complete "$python" "$@"; then return; fi
    echo "making $venvs/$name (once)"
    [ -x "$python" ] || "${PYTHON:-python3}" -m venv "$venvs/$name"
    # torch alone and first, so that no other build of it comes in with a peer.
    "$python" -m pip install -q ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0
    "$python" -m pip install -q "$@"
}

make_venv base fastapi==0.165.0
make_venv litserve litserve==0.2.19
make_venv bentoml bentoml==1.4.39
make_venv ray "ray[serve]==2.60.0"
