#!/bin/bash
# run.sh CONFORMANCE_DIR [SCRIPT…]: real clients against this API; see README.md beside this file.
set -e
folder=$(cd "${1:?the folder in which the clients are installed}" && pwd)
shift
cd "$(dirname "$0")/../.."
exec "${PYTHON:-.venv/bin/python}" -m tests.conformance.run "$folder" "$@"
