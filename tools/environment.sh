#!/usr/bin/env bash
# tools/environment.sh [--add] DIR PYTHON "INSTALL ARGUMENTS"...: a virtual environment, by uv (from PATH, or put into
# .venv-uv), or by pip where uv is not available or UV is set to nothing. --add: into one that exists.
# tools/environment.sh --uv PYTHON: .venv-uv alone, so that environments which are made side by side find it.
set -euo pipefail

put_uv() {
  # Moved when it is complete: two of these may run at the same time.
  local draft=.venv-uv.$$
  if "$1" -m venv "$draft" && "$draft/bin/python" -m pip install -qq --disable-pip-version-check 'uv>=0.9'; then
    rm -rf .venv-uv && mv "$draft" .venv-uv
  else
    rm -rf "$draft"
  fi
}

if [ "$1" = --uv ]; then put_uv "$2"; exit 0; fi
add=""
if [ "$1" = --add ]; then add=1; shift; fi
dir=$1 python=$2
shift 2

if [ -z "${UV+set}" ]; then
  UV=$(command -v uv || true)
  if [ -z "$UV" ]; then
    if [ ! -x .venv-uv/bin/uv ]; then put_uv "$python"; fi
    if [ -x .venv-uv/bin/uv ]; then UV=.venv-uv/bin/uv; fi
  fi
fi

# As pip: the certificates that this machine trusts, behind a company's proxy too.
export UV_SYSTEM_CERTS=1

with_uv() {
  # shellcheck disable=SC2086  # each argument is several words
  "$UV" pip install -q --python "$dir/bin/python" $1
}

with_pip() {
  # shellcheck disable=SC2086
  "$dir/bin/python" -P -m pip install -q --disable-pip-version-check $1
}

if [ -n "$UV" ]; then
  if [ -z "$add" ]; then rm -rf "$dir" && "$python" -m venv --without-pip "$dir"; fi
  done=1
  for arguments in "$@"; do
    with_uv "$arguments" || { done=""; break; }
  done
  if [ -n "$done" ]; then exit 0; fi
  echo "uv failed; trying pip" >&2
fi
if [ -z "$add" ]; then rm -rf "$dir"; fi
"$python" -m venv "$dir"
"$dir/bin/python" -P -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
for arguments in "$@"; do with_pip "$arguments"; done
