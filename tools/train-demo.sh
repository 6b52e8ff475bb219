#!/usr/bin/env bash
# train-demo.sh PORT [DATA [OPTION OF TRAIN ...]]: from pictures to an endpoint, step by step: `make train-demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
port=$1 data=${2:-} model=.train-demo/model
shift $(($# < 2 ? $# : 2))
mkdir -p .train-demo
if [ -z "$data" ]; then
  data=.train-demo/digits.npz
  rm -rf "$model"
  .venv-tf/bin/python -m samples.digits "$data"
  set -- --epochs 20 "$@"
fi

step() {
  printf '\n%s\n  k2l %s\n\n' "$1" "${*:2}"
  LOG_LEVEL=ERROR exec .venv-tf/bin/k2l "${@:2}"
}

(step "Explore" explore "$data" -o .train-demo/exploration.html)
step "Train, convert, verify, serve" train "$data" -o "$model" --serve "$port" "$@" &
server=$!
trap 'kill "$server"' EXIT
until curl --silent --fail --output /dev/null "http://127.0.0.1:$port/models"; do
  sleep 1
  kill -0 "$server"
done
(step "Evaluate the served model on test pictures" evaluate "http://127.0.0.1:$port/predict" --data "$data" \
  --against "$model/model.keras" -o .train-demo/evaluation.html)
printf '\nfinished in %s s\n' "$SECONDS"
