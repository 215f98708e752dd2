#!/bin/bash
# run.sh FOLDER [SCRIPT…]: run the clients of FOLDER against this API. README.md in this folder explains it.
set -e
folder=$(cd "${1:?the folder in which the clients are installed}" && pwd)
shift
cd "$(dirname "$0")/../.."
exec "${PYTHON:-.venv/bin/python}" -m tests.conformance.run "$folder" "$@"
