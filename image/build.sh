#!/bin/sh
# Makes the virtual environment of the image. Two steps, so that a change of the program does not install the libraries again.
#   build.sh libraries FOLDER    an environment with the libraries, each checked by its hash
#   build.sh program FOLDER      feedbridge itself, from the present folder; then what only builds and installs is removed
set -eu
step=$1
folder=$2
python=${PYTHON:-python3}

case $step in
libraries)
    "$python" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --no-cache-dir --require-hashes --no-deps -r requirements/run.txt
    ;;
program)
    build=$(mktemp -d)
    "$python" -m venv "$build"
    "$build/bin/python" -m pip install --quiet --no-cache-dir --require-hashes --no-deps -r requirements/build.txt
    "$build/bin/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$build/dist" .
    "$folder/bin/python" -m pip install --quiet --no-cache-dir --no-deps "$build"/dist/*.whl
    "$folder/bin/python" -m compileall -q "$folder/lib"
    "$folder/bin/python" -m pip uninstall --quiet --yes pip setuptools 2>/dev/null || "$folder/bin/python" -m pip uninstall --quiet --yes pip
    rm -rf "$build"
    ;;
*)
    echo "unknown step: $step" >&2
    exit 2
    ;;
esac
