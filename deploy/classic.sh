#!/usr/bin/env bash
# ECR, Lambda and a REST API by single awscli commands, each printed before it runs; docs/classic.md
# explains the steps. A second run updates what changed.
# usage: deploy/classic.sh [deploy|delete] [OPTION VALUE]... [--dry-run] [--yes]
#   --name NAME               of repository, function, role and API (default: keras-to-lambda-classic)
#   --region REGION           default: AWS_REGION, AWS_DEFAULT_REGION, or aws configure
#   --architecture A          x86_64 or arm64 (default: x86_64)
#   --memory MB               128 to 10240 (default: 1769)
#   --model PATH              .tflite below models/, or a folder of them (default: models)
#   --auth iam|api-key|none   signed requests (default), an x-api-key header, or everybody
#   --dry-run                 print the commands of a first run, or of a full delete; run none
#   --yes                     confirm a delete
# exit status: 0 done; 1 a command failed, run it again, finished steps stay; 2 wrong use

set -euo pipefail
fail() { echo "classic.sh: $*" >&2 && exit 2; }
cd "$(dirname "$0")/.."
action=deploy name=keras-to-lambda-classic region=${AWS_REGION:-${AWS_DEFAULT_REGION:-}}
architecture=x86_64 memory=1769 model=models auth=iam dry='' yes=''
case ${1-} in deploy | delete) action=$1 && shift ;; esac
while [ $# -gt 0 ]; do
  case $1 in
    --name | --region | --architecture | --memory | --model | --auth)
      [ $# -gt 1 ] || fail "$1: no value; see --help"
      declare "${1#--}=$2" && shift 2 ;;
    --dry-run) dry=1 && shift ;;
    --yes) yes=1 && shift ;;
    --help | -h) sed -n '2,/^$/s/^# \{0,1\}//p' deploy/classic.sh && exit ;;
    *) fail "unknown option $1; see --help" ;;
  esac
done
[[ $name =~ ^[a-z][a-z0-9-]{1,39}$ ]] || fail "--name $name: 2 to 40 of a-z, 0-9 and -, a letter first"
[[ $memory =~ ^[0-9]{3,5}$ && $memory -ge 128 && $memory -le 10240 ]] || fail "--memory $memory: 128 to 10240"
[[ $model != /* && $model != *[!A-Za-z0-9_./-]* && $model != *..* && -e $model ]] ||
  fail "--model $model: not a file or folder below this project"
[[ $architecture =~ ^(x86_64|arm64)$ ]] || fail "--architecture $architecture: x86_64 or arm64"
[[ $auth =~ ^(iam|api-key|none)$ ]] || fail "--auth $auth: iam, api-key or none"
[ "$action$yes$dry" != delete ] || fail "delete removes API, function, role, log and repository $name: confirm with --yes"
authorization=NONE key=--no-api-key-required
[ "$auth" != iam ] || authorization=AWS_IAM
[ "$auth" != api-key ] || key=--api-key-required

error=$(mktemp) && trap 'rm -f "$error"' EXIT
# Each command is printed before it runs.
step() { printf '\n== %s\n' "$*"; }
show() {
  local word line='  $'
  for word; do
    case $word in '' | *[!A-Za-z0-9_./:=@,+-]*) word="'$word'" ;; esac
    line+=" $word"
  done
  echo "$line"
}
run() {
  show "$@"
  [ -n "$dry" ] || if [ "$1" = aws ]; then "$@" >/dev/null; else "$@"; fi
}
# As run; what it prints goes to `kept`. A dry run puts the first word there.
keep() {
  kept=$1 && shift
  show "$@"
  [ -n "$dry" ] || kept=$("$@" --output text)
}
# Look something up: in `kept`, or false where it does not exist. Any other failure ends the script.
find() {
  kept=ID
  if [ -n "$dry" ]; then
    [ "$action" = delete ]
  elif kept=$("$@" --output text 2>"$error"); then
    kept=$(xargs <<<"$kept")
    [[ $kept != *' '* ]] || fail "several have the name $name: $kept; choose another --name"
    [ -n "$kept" ] && [ "$kept" != None ]
  else
    grep -qE 'NotFound|NoSuchEntity' "$error" || { show "$@" >&2 && cat "$error" >&2 && exit 1; }
    return 1
  fi
}
find_api() { find aws apigateway get-rest-apis --limit 500 --query "items[?name=='$name'].id"; }
find_plan() { find aws apigateway get-usage-plans --limit 500 --query "items[?name=='$name'].id"; }
find_key() { find aws apigateway get-api-keys --name-query "$name" --query "items[?name=='$name'].id"; }
find_path() { find aws apigateway get-resources --rest-api-id "$api" --limit 500 --query "items[?path=='$1'].id"; }
find_stage() { find aws apigateway get-usage-plan --usage-plan-id "$plan" --query "apiStages[?apiId=='$api'].stage"; }
find_function() { find aws lambda get-function --function-name "$name" --query Configuration.FunctionName; }
find_role() { find aws iam get-role --role-name "$role" --query Role.RoleName; }
find_log() { find aws logs describe-log-groups --log-group-name-prefix "$log" --query "logGroups[?logGroupName=='$log'].logGroupName"; }
find_repository() { find aws ecr describe-repositories --repository-names "$name" --query 'repositories[0].repositoryName'; }

step "Account and region"
command -v aws >/dev/null || PATH=$PATH:$PWD/.venv-aws/bin
[ -n "$region$dry" ] || region=$(aws configure get region) || fail "no region: --region eu-west-1"
export AWS_REGION=${region:-REGION} AWS_DEFAULT_REGION=${region:-REGION} AWS_PAGER=""
keep arn:aws:iam::ACCOUNT:user/you aws sts get-caller-identity --query Arn
IFS=: read -r _ partition _ _ account _ <<<"$kept"
here=$AWS_REGION:$account log=/aws/lambda/$name role=$name-$AWS_REGION suffix=amazonaws.com
[ "$partition" != aws-cn ] || suffix=amazonaws.com.cn
registry=$account.dkr.ecr.$AWS_REGION.$suffix

if [ "$action" = delete ]; then
  step "Remove, callers first"
  api='' plan=''
  ! find_api || api=$kept
  ! find_plan || plan=$kept
  [ -z "$api" ] || [ -z "$plan" ] || ! find_stage || run aws apigateway update-usage-plan --usage-plan-id "$plan" --patch-operations "op=remove,path=/apiStages,value=$api:Prod"
  [ -z "$api" ] || run aws apigateway delete-rest-api --rest-api-id "$api"
  [ -z "$plan" ] || run aws apigateway delete-usage-plan --usage-plan-id "$plan"
  ! find_key || run aws apigateway delete-api-key --api-key "$kept"
  ! find_function || run aws lambda delete-function --function-name "$name"
  ! find aws iam get-role-policy --role-name "$role" --policy-name log --query PolicyName || run aws iam delete-role-policy --role-name "$role" --policy-name log
  ! find_role || run aws iam delete-role --role-name "$role"
  ! find_log || run aws logs delete-log-group --log-group-name "$log"
  ! find_repository || run aws ecr delete-repository --repository-name "$name" --force
  exit
fi

step "Repository: tags never move"
find_repository || run aws ecr create-repository --repository-name "$name" --image-tag-mutability IMMUTABLE

step "Image: for one processor, without attestations, which Lambda refuses"
run env BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build --platform "linux/${architecture/x86_64/amd64}" --build-arg "MODEL=$model" -t "$name" .
id=sha256:IMAGE_ID
[ -n "$dry" ] || id=$(docker image inspect --format '{{.Id}}' "$name")
tag=$architecture-${id:7:12} image=$registry/$name:$tag # of its content: the same build is pushed once
if ! find aws ecr describe-images --repository-name "$name" --image-ids "imageTag=$tag" --query 'imageDetails[0].imageDigest'; then
  echo "  \$ aws ecr get-login-password | docker login --username AWS --password-stdin $registry"
  [ -n "$dry" ] || aws ecr get-login-password | docker login --username AWS --password-stdin "$registry"
  run docker tag "$name" "$image"
  run docker push "$image"
fi

step "Log and role: the function may write its log, and nothing else"
find_log || run aws logs create-log-group --log-group-name "$log"
run aws logs put-retention-policy --log-group-name "$log" --retention-in-days 30
find_role || run aws iam create-role --role-name "$role" --assume-role-policy-document \
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
run aws iam put-role-policy --role-name "$role" --policy-name log --policy-document \
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["logs:CreateLogStream","logs:PutLogEvents"],"Resource":"arn:'"$partition:logs:$here:log-group:$log"':*"}]}'

step "Function: each change is waited for, as Lambda takes one at a time"
settled() { for state in active updated; do run aws lambda wait "function-$state-v2" --function-name "$name"; done; }
if find_function; then
  settled
  run aws lambda update-function-configuration --function-name "$name" --memory-size "$memory" --timeout 28
  settled
  run aws lambda update-function-code --function-name "$name" --image-uri "$image" --architectures "$architecture"
else
  tries=0 # a new role takes seconds to be known everywhere
  until run aws lambda create-function --function-name "$name" --package-type Image --code "ImageUri=$image" --timeout 28 \
    --role "arn:$partition:iam::$account:role/$role" --architectures "$architecture" --memory-size "$memory" 2>"$error"; do
    if [ $((tries += 1)) -ge 20 ] || ! grep -q 'cannot be assumed' "$error"; then cat "$error" >&2 && exit 1; fi
    sleep 3
  done
fi
settled
keep 1 aws lambda publish-version --function-name "$name" --query Version
version=$kept alias=create-alias routing=()
run aws lambda wait published-version-active --function-name "$name" --qualifier "$version"
! find aws lambda get-alias --function-name "$name" --name live --query Name || alias=update-alias routing=(--routing-config '{"AdditionalVersionWeights":{}}')
run aws lambda "$alias" --function-name "$name" --name live --function-version "$version" ${routing[@]+"${routing[@]}"}

step "REST API: one resource for every path; these types arrive intact"
method() {
  local at=(--rest-api-id "$api" --resource-id "$1" --http-method "$2")
  ! find aws apigateway get-method "${at[@]}" --query httpMethod || run aws apigateway delete-method "${at[@]}"
  run aws apigateway put-method "${at[@]}" --authorization-type "$3" "$4"
  run aws apigateway put-integration "${at[@]}" --type AWS_PROXY --integration-http-method POST --uri \
    "arn:$partition:apigateway:$AWS_REGION:lambda:path/2015-03-31/functions/arn:$partition:lambda:$here:function:$name:live/invocations"
}
find_api || keep API_ID aws apigateway create-rest-api --name "$name" --endpoint-configuration types=REGIONAL \
  --binary-media-types image/jpeg image/png image/webp image/gif image/bmp application/octet-stream multipart/form-data --query id
api=$kept
find_path / || kept=ROOT_ID
root=$kept
find_path '/{proxy+}' || keep PROXY_ID aws apigateway create-resource --rest-api-id "$api" --parent-id "$root" --path-part '{proxy+}' --query id
proxy=$kept
method "$root" ANY "$authorization" "$key"
method "$proxy" ANY "$authorization" "$key"
method "$proxy" OPTIONS NONE --no-api-key-required # a browser's preflight carries no credentials
if ! find aws lambda get-policy --function-name "$name" --qualifier live --query "contains(Policy, 'api-$api')" || [ "$kept" != True ]; then
  run aws lambda add-permission --function-name "$name" --qualifier live --statement-id "api-$api" --action lambda:InvokeFunction \
    --principal apigateway.amazonaws.com --source-arn "arn:$partition:execute-api:$here:$api/*/*"
fi
run aws apigateway create-deployment --rest-api-id "$api" --stage-name Prod
run aws apigateway update-stage --rest-api-id "$api" --stage-name Prod --patch-operations \
  "op=replace,path=/*/*/throttling/rateLimit,value=20" "op=replace,path=/*/*/throttling/burstLimit,value=40"

if [ "$auth" = api-key ]; then
  step "API key: a usage plan joins it to the stage"
  find_plan || keep PLAN_ID aws apigateway create-usage-plan --name "$name" --query id
  plan=$kept
  find_stage || run aws apigateway update-usage-plan --usage-plan-id "$plan" --patch-operations "op=add,path=/apiStages,value=$api:Prod"
  find_key || keep KEY_ID aws apigateway create-api-key --name "$name" --enabled --query id
  key_id=$kept
  find aws apigateway get-usage-plan-keys --usage-plan-id "$plan" --query "items[?id=='$key_id'].id" ||
    run aws apigateway create-usage-plan-key --usage-plan-id "$plan" --key-id "$key_id" --key-type API_KEY
  echo "  the key: aws apigateway get-api-key --api-key $key_id --include-value --query value --output text"
fi
url=https://$api.execute-api.$AWS_REGION.$suffix/Prod/predict
step "Done: POST to $url"
[ "$auth" != none ] || echo "  NO SIGN-IN: everyone with the URL can spend your money, 20 requests a second."
echo "  compare with this machine: k2l smoke $url --function $name --region $AWS_REGION"
