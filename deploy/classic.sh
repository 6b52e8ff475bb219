#!/usr/bin/env bash
# The classic path: a container image in ECR, a Lambda function, a REST API, step by step with awscli.
# `deploy/classic.sh --help` explains; docs/classic.md has it for reading.
set -Eeuo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage: deploy/classic.sh [deploy] [OPTION...]     build, push, create or update
       deploy/classic.sh delete [OPTION...]       remove all of it, in the right order

Puts the classifier on AWS by single awscli commands, each shown with a line that says why. A second
run updates what changed and says of the rest that it is already there. `make deploy` does the same
and more (canary, alarms, dashboard) with SAM; this is the path to learn from.

  --name NAME           of repository, function and API (default: keras-to-lambda-classic)
  --region REGION       default: AWS_REGION, AWS_DEFAULT_REGION, then `aws configure get region`
  --architecture A      x86_64 or arm64: of the image and of the function (default: x86_64)
  --memory MB           128 to 10240; Lambda gives processor by memory (default: 1769)
  --model PATH          a .tflite below models/, or a folder of them (default: models)
  --auth iam|api-key|none
                        who may call. iam: requests signed by somebody of your account (default);
                        api-key: whoever has the key; none: everybody who learns the URL
  --dry-run             print the commands of a first run, run none
  --yes                 delete without asking
  --help                this text

Options may come from the environment: FUNCTION (the name), ARCHITECTURE, MEMORY, MODEL, AUTH.
ECR_REGISTRY names a registry in place of ACCOUNT.dkr.ecr.REGION.amazonaws.com: a mirror, or a local
one in tests.

examples:
  deploy/classic.sh --dry-run
  deploy/classic.sh --region eu-west-1 --auth api-key --model models/clothing/clothing.tflite
  deploy/classic.sh delete --region eu-west-1

exit status:
  0  done
  1  a step failed; run it again, what is done stays
  2  wrong use, or a tool, credentials or the region are missing
END
}

wrong() {
  echo "classic.sh: $*" >&2
  exit 2
}

action=deploy
case ${1-} in deploy | delete)
  action=$1
  shift
  ;;
esac
name=${FUNCTION:-keras-to-lambda-classic}
region=${AWS_REGION:-${AWS_DEFAULT_REGION:-}}
architecture=${ARCHITECTURE:-x86_64}
memory=${MEMORY:-1769}
model=${MODEL:-models}
auth=${AUTH:-iam}
dry='' yes=''
while [ $# -gt 0 ]; do
  case $1 in
    --name | --region | --architecture | --memory | --model | --auth)
      [ $# -gt 1 ] || wrong "$1 needs a value"
      case $1 in
        --name) name=$2 ;;
        --region) region=$2 ;;
        --architecture) architecture=$2 ;;
        --memory) memory=$2 ;;
        --model) model=$2 ;;
        --auth) auth=$2 ;;
      esac
      shift 2
      ;;
    --dry-run) dry=1 && shift ;;
    --yes) yes=1 && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "there is no option $1; see --help" ;;
  esac
done
[[ $name =~ ^[a-z][a-z0-9-]{1,39}$ ]] || wrong "--name $name: 2 to 40 of a-z, 0-9 and -, a letter first"
case $architecture in
  x86_64) platform=linux/amd64 ;;
  arm64) platform=linux/arm64 ;;
  *) wrong "--architecture $architecture is neither x86_64 nor arm64" ;;
esac
[[ $memory =~ ^[0-9]{3,5}$ && $memory -ge 128 && $memory -le 10240 ]] ||
  wrong "--memory $memory is not a number from 128 to 10240"
case $auth in
  iam) method_auth=AWS_IAM key_required=False ;;
  api-key) method_auth=NONE key_required=True ;;
  none) method_auth=NONE key_required=False ;;
  *) wrong "--auth $auth is none of iam, api-key and none" ;;
esac
[ "$action" = delete ] || [ -e "$model" ] || wrong "--model $model is not there"
[[ $model != /* && $model != *..* ]] || wrong "--model $model must be below this folder, which the image is built from"

# `make classic` installs one into .venv-aws, and sets PATH for this script alone: what is for the
# reader's shell names it by its path from here.
command -v aws >/dev/null || PATH=$PATH:$PWD/.venv-aws/bin
aws=aws
[[ ! $(command -v aws) -ef .venv-aws/bin/aws ]] || aws=.venv-aws/bin/aws

# API Gateway gives up after 29 s: https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
timeout_s=28
stage=Prod
# Of the whole stage, requests a second and at once: what limits the bill.
rate=20 burst=40
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
trap 'failed' ERR
failed() {
  [ "$BASH_SUBSHELL" -gt 0 ] ||
    echo "classic.sh: the command above failed. Mend what it says and run this again: what is done stays." >&2
  exit 1
}

# --- how commands are shown and run

step() { printf '\n== %s\n' "$1"; }
because() { printf '   %s\n' "$@"; }
there() { printf '   already there: %s\n' "$1"; }

# As a reader could type it.
show() {
  local word line='  $' column=3
  # In variables, as every version of bash has its own idea of quotes in a substitution.
  local quote="'" quoted="'\\''"
  for word; do
    case $word in
      '' | *[!A-Za-z0-9_./:=@,%+-]*)
        word=${word//$quote/$quoted}
        word="'$word'"
        ;;
    esac
    if [[ $word == --* ]] && [ $((column + ${#word})) -gt 60 ]; then
      line+=$' \\\n     ' column=5
    fi
    line+=" $word"
    column=$((column + ${#word} + 1))
  done
  printf '%s\n' "$line"
}

# A command whose output is for the reader.
run() {
  show "$@"
  [ -n "$dry" ] || "$@"
}

# A command whose output is for us: in `answer`. $1 stands in for it in a dry run.
take() {
  answer=$1
  shift
  show "$@"
  [ -n "$dry" ] || answer=$("$@")
}

# Look something up: in `answer`, or false if it is not there. Any other failure ends the script, so
# that a missing permission is never taken for a missing thing. Nothing is there in a dry run.
found() {
  answer=
  [ -z "$dry" ] || return 1
  if answer=$("$@" 2>"$made/error"); then
    # One line, whatever the pages and tabs.
    answer=$(tr -s '[:space:]' ' ' <<<"$answer" | sed 's/^ //; s/ $//')
    [ -n "$answer" ] && [ "$answer" != None ]
  elif grep -qE 'NotFound|NoSuchEntity' "$made/error"; then
    return 1
  else
    show "$@" >&2
    cat "$made/error" >&2
    echo "classic.sh: the look-up above failed; mend what it says and run this again" >&2
    exit 1
  fi
}

# As found, of what has names that are not unique.
found_one() {
  found "$@" || return 1
  case $answer in *' '*) wrong "several are named $name: $answer. Remove all but one, or choose another --name" ;; esac
}

# Whether there is something to remove: in `answer`. A dry run removes all, and $1 stands in for it.
removable() {
  answer=$1
  shift
  [ -n "$dry" ] || "$@"
}

# --- what is looked up in both directions

find_api() { found_one aws apigateway get-rest-apis --limit 500 --query "items[?name=='$name'].id" --output text; }
find_plan() { found_one aws apigateway get-usage-plans --limit 500 --query "items[?name=='$name'].id" --output text; }
find_key() { found_one aws apigateway get-api-keys --name-query "$name" --query "items[?name=='$name'].id" --output text; }
find_stage() {
  found aws apigateway get-usage-plan --usage-plan-id "$1" --query "apiStages[?apiId=='$api'&&stage=='$stage'].stage" --output text
}
find_log() {
  found aws logs describe-log-groups --log-group-name-prefix "$log_group" \
    --query "logGroups[?logGroupName=='$log_group'].logGroupName" --output text
}

preconditions() {
  step "Who and where"
  [ -n "$region" ] || region=$(aws configure get region 2>/dev/null) || true
  [ -z "$dry" ] || region=${region:-REGION}
  [ -n "$region" ] || wrong "no region: give --region eu-west-1, or run \`aws configure\`"
  export AWS_REGION=$region AWS_DEFAULT_REGION=$region AWS_PAGER=""
  role=$name-$region # IAM knows no regions
  log_group=/aws/lambda/$name
  if [ -z "$dry" ]; then
    command -v aws >/dev/null || wrong "aws is not installed: \`make classic\` installs it here, or https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"
    if [ "$action" = deploy ]; then
      command -v docker >/dev/null || wrong "docker is not installed: https://docs.docker.com/engine/install/"
      docker info >"$made/docker" 2>&1 || wrong "no Docker engine answers: start Docker, or \`docker info\` says why"
    fi
  fi
  [ "$aws" = aws ] || because "Where your own PATH has no aws, type $aws."
  because "The account that these commands act on; without credentials nothing else works."
  show aws sts get-caller-identity --query Arn --output text
  arn=arn:aws:iam::ACCOUNT:user/you
  if [ -z "$dry" ]; then
    arn=$(aws sts get-caller-identity --query Arn --output text 2>"$made/error") || {
      cat "$made/error" >&2
      wrong "AWS does not say who you are (above): run \`aws configure\` or \`aws sso login\`, or set AWS_PROFILE"
    }
  fi
  because "$arn, region $region"
  # arn:PARTITION:SERVICE:REGION:ACCOUNT:...
  partition=$(cut -d: -f2 <<<"$arn")
  account=$(cut -d: -f5 <<<"$arn")
  suffix=amazonaws.com
  [ "$partition" != aws-cn ] || suffix=amazonaws.com.cn
  registry=${ECR_REGISTRY:-$account.dkr.ecr.$region.$suffix}
  function_arn=arn:$partition:lambda:$region:$account:function:$name
}

repository() {
  step "Repository"
  because "Lambda takes images from ECR of its own region. A tag is never moved, every push is scanned."
  if found aws ecr describe-repositories --repository-names "$name" --query 'repositories[0].repositoryUri' --output text; then
    there "repository $name"
  else
    take - aws ecr create-repository --repository-name "$name" --image-tag-mutability IMMUTABLE \
      --image-scanning-configuration scanOnPush=true
  fi
}

image() {
  step "Image"
  because "For one processor. Without attestations: they make of an image a list of manifests, which" \
    "Lambda refuses (\"image manifest, config or layer media type ... is not supported\")."
  local build=(docker build --platform "$platform" --build-arg "MODEL=$model" -t "$name")
  if docker buildx version >"$made/buildx" 2>&1; then
    build+=(--provenance=false --sbom=false)
  fi
  run env BUILDX_NO_DEFAULT_ATTESTATIONS=1 "${build[@]}" .

  step "Push"
  because "The tag says the content, so that the same build is pushed once, and no tag means two things."
  take sha256:0123456789ab docker image inspect --format '{{.Id}}' "$name"
  tag=$architecture-$(cut -c8-19 <<<"$answer")
  local target=$registry/$name:$tag
  if found aws ecr describe-images --repository-name "$name" --image-ids "imageTag=$tag" \
    --query 'imageDetails[0].imageDigest' --output text; then
    there "$target"
    digest=$answer
  else
    because "A password for Docker, valid for 12 hours."
    echo "  \$ aws ecr get-login-password | docker login --username AWS --password-stdin $registry"
    if [ -z "$dry" ]; then
      aws ecr get-login-password | docker login --username AWS --password-stdin "$registry"
    fi
    run docker tag "$name" "$target"
    run docker push "$target"
    because "What was pushed, by the hash of its content: a function that is given a tag would not say."
    take "$registry/$name@sha256:DIGEST" docker image inspect --format '{{join .RepoDigests "\n"}}' "$target"
    digest=$(sed -n "s|^$registry/$name@||p" <<<"$answer" | tail -1)
  fi
  image_uri=$registry/$name@$digest
  because "$image_uri"
}

permissions() {
  step "Log and role"
  because "Made here, as a log group that Lambda makes keeps everything for ever."
  if find_log; then
    there "log group $log_group"
  else
    take - aws logs create-log-group --log-group-name "$log_group"
  fi
  take - aws logs put-retention-policy --log-group-name "$log_group" --retention-in-days 30
  because "What the function may do: write that log, and nothing else."
  if found aws iam get-role --role-name "$role" --query Role.Arn --output text; then
    there "role $role"
  else
    take "arn:aws:iam::ACCOUNT:role/$role" aws iam create-role --role-name "$role" \
      --assume-role-policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}' \
      --query Role.Arn --output text
  fi
  role_arn=$answer
  take - aws iam put-role-policy --role-name "$role" --policy-name log \
    --policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["logs:CreateLogStream","logs:PutLogEvents"],"Resource":"arn:'"$partition:logs:$region:$account:log-group:$log_group"':*"}]}'
}

# A new role is known everywhere after some seconds
# (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency).
create_function() {
  local tries=0
  show "$@"
  [ -z "$dry" ] || return 0
  until "$@" >"$made/function" 2>"$made/error"; do
    tries=$((tries + 1))
    if [ "$tries" -ge 20 ] || ! grep -q 'cannot be assumed' "$made/error"; then
      cat "$made/error" >&2
      return 1
    fi
    because "the role is not known everywhere yet; trying again in 3 s"
    sleep 3
  done
}

# AWS refuses changes and versions while a function is made or changed (ResourceConflictException).
settled() {
  run aws lambda wait function-active-v2 --function-name "$name"
  run aws lambda wait function-updated-v2 --function-name "$name"
}

deploy_function() {
  step "Function"
  local wanted="$image_uri $memory $architecture $timeout_s"
  if ! found aws lambda get-function --function-name "$name" --output text \
    --query '[Code.ImageUri,Configuration.MemorySize,Configuration.Architectures[0],Configuration.Timeout]'; then
    because "The image by its digest. 28 s, as API Gateway gives up after 29."
    create_function aws lambda create-function --function-name "$name" --package-type Image \
      --code "ImageUri=$image_uri" --role "$role_arn" --architectures "$architecture" \
      --memory-size "$memory" --timeout "$timeout_s"
  elif [ "$answer" = "$wanted" ]; then
    there "function $name with this image and memory"
  else
    because "A function takes one change at a time, so each is waited for (ResourceConflictException)."
    settled
    take - aws lambda update-function-configuration --function-name "$name" \
      --memory-size "$memory" --timeout "$timeout_s"
    run aws lambda wait function-updated-v2 --function-name "$name"
    take - aws lambda update-function-code --function-name "$name" --image-uri "$image_uri" \
      --architectures "$architecture"
  fi
  because "Lambda optimizes an image first: a minute or so, at most five. Also waited for where nothing" \
    "was to be done: a run that was interrupted may have left the function in the middle of it."
  settled

  step "Version and alias"
  because "A version never changes; Lambda makes none where nothing has. Callers come through the alias" \
    "\`live\`, so that going back is one command."
  take 1 aws lambda publish-version --function-name "$name" --query Version --output text
  version=$answer
  run aws lambda wait published-version-active --function-name "$name" --qualifier "$version"
  if ! found aws lambda get-alias --function-name "$name" --name live --output text \
    --query '[FunctionVersion,to_string(RoutingConfig.AdditionalVersionWeights)]'; then
    take - aws lambda create-alias --function-name "$name" --name live --function-version "$version"
  elif [[ $answer = "$version null" || $answer = "$version {}" ]]; then
    there "alias live, at version $version"
  else
    take - aws lambda update-alias --function-name "$name" --name live --function-version "$version" \
      --routing-config '{"AdditionalVersionWeights":{}}'
  fi
}

# $1: the resource's id. $2: its path, for the reader. $3: method. $4, $5: authorization, key required.
method() {
  local call=(--rest-api-id "$api" --resource-id "$1" --http-method "$3")
  local uri=arn:$partition:apigateway:$region:lambda:path/2015-03-31/functions/$function_arn:live/invocations
  if found aws apigateway get-method "${call[@]}" --output text \
    --query '[authorizationType,apiKeyRequired,methodIntegration.uri]'; then
    if [ "$answer" = "$4 $5 $uri" ]; then
      there "$3 $2"
      return
    fi
    # Callers see none of this before the deployment below.
    take - aws apigateway delete-method "${call[@]}"
  fi
  local key=--no-api-key-required
  [ "$5" = False ] || key=--api-key-required
  take - aws apigateway put-method "${call[@]}" --authorization-type "$4" "$key"
  # Lambda is always asked by POST, whatever the caller's method.
  take - aws apigateway put-integration "${call[@]}" --type AWS_PROXY --integration-http-method POST --uri "$uri"
}

gateway() {
  step "REST API"
  because "Bodies of these types reach the function as base64; of others as text, which breaks a photo."
  if find_api; then
    there "REST API $name, $answer"
  else
    take API_ID aws apigateway create-rest-api --name "$name" --endpoint-configuration types=REGIONAL \
      --binary-media-types image/jpeg image/png image/webp image/gif image/bmp \
      application/octet-stream multipart/form-data --query id --output text
  fi
  api=$answer
  take ROOT_ID aws apigateway get-resources --rest-api-id "$api" --limit 500 --query "items[?path=='/'].id" --output text
  root=$answer
  because "Every path is one resource, and the function knows which there are: POST /predict, GET /, ..."
  if found aws apigateway get-resources --rest-api-id "$api" --limit 500 --query "items[?path=='/{proxy+}'].id" --output text; then
    there "resource /{proxy+}"
  else
    take PROXY_ID aws apigateway create-resource --rest-api-id "$api" --parent-id "$root" \
      --path-part '{proxy+}' --query id --output text
  fi
  local proxy=$answer
  because "Who may call: $auth. A browser's preflight cannot carry credentials, and gets only headers."
  [ "$auth" != none ] || because "NOBODY HAS TO SIGN IN: who learns the URL spends your money, up to $rate requests a second."
  method "$root" / ANY "$method_auth" "$key_required"
  method "$proxy" '/{proxy+}' ANY "$method_auth" "$key_required"
  method "$proxy" '/{proxy+}' OPTIONS NONE False

  because "This API, and no other, may invoke the alias."
  if found aws lambda get-policy --function-name "$name" --qualifier live --query Policy --output text &&
    grep -q "\"api-$api\"" <<<"$answer"; then
    there "permission api-$api"
  else
    take - aws lambda add-permission --function-name "$name" --qualifier live --statement-id "api-$api" \
      --action lambda:InvokeFunction --principal apigateway.amazonaws.com \
      --source-arn "arn:$partition:execute-api:$region:$account:$api/*/*"
  fi
  because "What callers see is the stage, a snapshot of the API. Always made anew: a run that was" \
    "interrupted may have changed the API after the last one."
  take - aws apigateway create-deployment --rest-api-id "$api" --stage-name "$stage"
  take - aws apigateway update-stage --rest-api-id "$api" --stage-name "$stage" --patch-operations \
    "op=replace,path=/*/*/throttling/rateLimit,value=$rate" "op=replace,path=/*/*/throttling/burstLimit,value=$burst"
  [ "$auth" != api-key ] || api_key
  url=https://$api.execute-api.$region.$suffix/$stage/predict
}

api_key() {
  step "API key"
  because "A key does nothing without a usage plan that joins it to the stage."
  local plan
  if find_plan; then
    plan=$answer
    there "usage plan $plan"
    # One that an interrupted delete has left belongs to no API, or to one that is gone.
    if ! find_stage "$plan"; then
      take - aws apigateway update-usage-plan --usage-plan-id "$plan" \
        --patch-operations "op=add,path=/apiStages,value=$api:$stage"
    fi
  else
    take PLAN_ID aws apigateway create-usage-plan --name "$name" --api-stages "apiId=$api,stage=$stage" \
      --throttle "rateLimit=$rate,burstLimit=$burst" --query id --output text
    plan=$answer
  fi
  if find_key; then
    there "API key $answer"
  else
    take KEY_ID aws apigateway create-api-key --name "$name" --enabled --query id --output text
  fi
  key=$answer
  if found aws apigateway get-usage-plan-keys --usage-plan-id "$plan" --query "items[?id=='$key'].id" --output text; then
    there "the key in the plan"
  else
    take - aws apigateway create-usage-plan-key --usage-plan-id "$plan" --key-id "$key" --key-type API_KEY
  fi
}

report() {
  step "Done"
  because "POST to $url"
  echo
  local photo="-H 'Content-Type: image/jpeg' --data-binary @samples/t-shirt.jpg"
  case $auth in
    iam)
      # shellcheck disable=SC2016  # the reader's shell expands these
      printf '%s\n' "  eval \"\$($aws configure export-credentials --format env)\"" \
        "  curl --aws-sigv4 aws:amz:$region:execute-api --user \"\$AWS_ACCESS_KEY_ID:\$AWS_SECRET_ACCESS_KEY\" \\" \
        "    \${AWS_SESSION_TOKEN:+-H \"x-amz-security-token: \$AWS_SESSION_TOKEN\"} \\" \
        "    $photo $url"
      ;;
    api-key)
      printf '%s\n' "  key=\$($aws apigateway get-api-key --region $region --api-key $key --include-value --query value --output text)" \
        "  curl -H \"x-api-key: \$key\" $photo \\" "    $url"
      ;;
    none) printf '%s\n' "  curl $photo \\" "    $url" ;;
  esac
  local smoke=''
  [ "$auth" != iam ] || smoke=' --iam'
  # shellcheck disable=SC2016
  [ "$auth" != api-key ] || smoke=' --api-key "$key"'
  printf '%s\n' "" "compare with the answers of this machine, and go back where they differ:" "" \
    "  .venv/bin/python -m deploy.smoke $url$smoke \\" "    --function $name --region $region" "" \
    "remove everything:" "" "  deploy/classic.sh delete --name $name --region $region"
}

# The caller comes first: nothing is asked for that is gone.
delete() {
  if [ -z "$yes$dry" ]; then
    echo
    echo "This removes, in $region of account $account: REST API, usage plan and API key $name; function"
    echo "$name with every version; role $role; log group $log_group; repository $name with its images."
    [ -t 0 ] || wrong "there is nobody to ask; say --yes"
    read -rp "Type the name to go on: " typed
    [ "$typed" = "$name" ] || wrong "nothing was removed"
  fi
  step "Remove"
  if removable API_ID find_api; then
    api=$answer
    # A stage in a usage plan cannot be removed, nor a plan that has one.
    if removable PLAN_ID find_plan; then
      plan=$answer
      if removable - find_stage "$plan"; then
        take - aws apigateway update-usage-plan --usage-plan-id "$plan" \
          --patch-operations "op=remove,path=/apiStages,value=$api:$stage"
      fi
    fi
    take - aws apigateway delete-rest-api --rest-api-id "$api"
  fi
  if removable PLAN_ID find_plan; then
    take - aws apigateway delete-usage-plan --usage-plan-id "$answer"
  fi
  if removable KEY_ID find_key; then
    take - aws apigateway delete-api-key --api-key "$answer"
  fi
  if removable - found aws lambda get-function --function-name "$name" --query Configuration.FunctionName --output text; then
    take - aws lambda delete-function --function-name "$name"
  fi
  if removable - found aws iam get-role --role-name "$role" --query Role.RoleName --output text; then
    if removable - found aws iam get-role-policy --role-name "$role" --policy-name log --query PolicyName --output text; then
      take - aws iam delete-role-policy --role-name "$role" --policy-name log
    fi
    take - aws iam delete-role --role-name "$role"
  fi
  if removable - find_log; then
    take - aws logs delete-log-group --log-group-name "$log_group"
  fi
  if removable - found aws ecr describe-repositories --repository-names "$name" --query 'repositories[0].repositoryName' --output text; then
    take - aws ecr delete-repository --repository-name "$name" --force
  fi
  step "Done: nothing named $name is left"
}

[ -z "$dry" ] || echo "A dry run: what follows is printed and not run. Words in capitals are AWS's to choose."
preconditions
if [ "$action" = delete ]; then
  delete
else
  repository
  image
  permissions
  deploy_function
  gateway
  report
fi
