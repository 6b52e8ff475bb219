# The function's image. To try it:
#
#   docker build -t keras-to-lambda .
#   docker run --rm -p 9000:8080 keras-to-lambda
#   curl -d @events/direct-image.json http://localhost:9000/2015-03-31/functions/function/invocations
#
# For any other host, page and API on $PORT (docs/hosts.md):
#
#   docker build --target web -t classifier-web .
#   docker run --rm -p 8000:8000 classifier-web
#
# For Lambda, build with --provenance=false (or BUILDX_NO_DEFAULT_ATTESTATIONS=1 in the environment):
# BuildKit's attestations turn the image into a list of manifests, which Lambda refuses as "image
# manifest ... not supported". `sam build` does so by itself.
#
# Nothing here needs BuildKit, so that any builder will do.

ARG PYTHON_VERSION=3.13
# A release names it by digest: --build-arg BASE_IMAGE=public.ecr.aws/lambda/python:3.13@sha256:...
ARG BASE_IMAGE=public.ecr.aws/lambda/python:${PYTHON_VERSION}

# A stage of its own: what it removes and changes is then stored once in the image, or not at all.
FROM ${BASE_IMAGE} AS build
COPY requirements.txt deploy/slim.py /tmp/
# Below the folder that the image has its packages in.
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary=:all: --no-compile \
    --target "/packages$(python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')" \
    --root-user-action=ignore -r /tmp/requirements.txt
WORKDIR /files
COPY lambda_function.py app/
COPY src/keras_to_lambda/__init__.py app/keras_to_lambda/
COPY src/keras_to_lambda/runtime/ app/keras_to_lambda/runtime/
COPY web/ app/web/
# What is served: a .tflite below models/, its card inside, or a folder with several. Of a folder,
# .dockerignore lets the .tflite files in, and the samples that the playground offers.
ARG MODEL=models
COPY ${MODEL} model/${MODEL}
# An image whose engine answers otherwise than LiteRT's own Python class cannot be built; that class
# and all else that is never loaded then goes. Lambda runs as a user that no build knows, on a root
# that is read-only: every file has to be readable by all (a checkout's umask may say otherwise), and
# bytecode has to be there already. It is never compared with its source, which cannot change.
RUN site="/packages$(python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')" && \
    PYTHONPATH="app:$site" MODEL_PATH="model/${MODEL}" PYTHONDONTWRITEBYTECODE=1 \
    python -m keras_to_lambda.runtime.check --compare && \
    python /tmp/slim.py "$site" && \
    chmod -R a+rX . /packages && \
    python -m compileall -q --invalidation-mode unchecked-hash -s /packages "$site" && \
    python -m compileall -q --invalidation-mode unchecked-hash app

FROM ${BASE_IMAGE} AS function
COPY requirements.txt /tmp/
# The base's own versions of the packages.
RUN pip uninstall --yes --root-user-action=ignore -r /tmp/requirements.txt
COPY --from=build /packages/ /
COPY --from=build /files/app/ ${LAMBDA_TASK_ROOT}/
COPY --from=build /files/model/ ${LAMBDA_TASK_ROOT}/
ARG MODEL=models
# For large models, a folder for packed weights: --build-arg WEIGHT_CACHE=/var/task/cache
# (docs/serving.md); the check below fills it.
ARG WEIGHT_CACHE=
# OPENBLAS_NUM_THREADS: numpy starts threads at import, which nothing here uses.
ENV MODEL_PATH=${LAMBDA_TASK_ROOT}/${MODEL} \
    WEIGHT_CACHE=${WEIGHT_CACHE} \
    OPENBLAS_NUM_THREADS=1 \
    PYTHONDONTWRITEBYTECODE=1
# One real inference: an image that cannot answer cannot be built.
RUN python -m keras_to_lambda.runtime.check
# The rest (revision, version, the base's digest) is given by who builds: docker build --label ...
ARG BASE_IMAGE
LABEL org.opencontainers.image.title=keras-to-lambda \
    org.opencontainers.image.licenses=Apache-2.0 \
    org.opencontainers.image.base.name=${BASE_IMAGE}
# No USER: Lambda chooses its own, and what `sam local` adds to an image it adds as the image's user.
# Elsewhere: docker run --user 65534 --read-only --tmpfs /tmp --cap-drop ALL
# --security-opt no-new-privileges (docs/supply-chain.md).
CMD ["lambda_function.lambda_handler"]

# The same files behind an HTTP server, for hosts that give a PORT.
FROM function AS web
COPY requirements-web.txt /tmp/
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary=:all: \
    --root-user-action=ignore -r /tmp/requirements-web.txt
COPY src/keras_to_lambda/serve/__init__.py src/keras_to_lambda/serve/gateway.py \
    src/keras_to_lambda/serve/host.py src/keras_to_lambda/serve/http_server.py \
    ${LAMBDA_TASK_ROOT}/keras_to_lambda/serve/
RUN chmod -R a+rX ${LAMBDA_TASK_ROOT}/keras_to_lambda/serve && \
    python -m compileall -q --invalidation-mode unchecked-hash ${LAMBDA_TASK_ROOT}/keras_to_lambda/serve
ENV PORT=8000
EXPOSE 8000
USER 65534
ENTRYPOINT ["python", "-m", "keras_to_lambda.serve.host"]
CMD []

# The last stage is what `docker build` and `sam build` make without a target.
FROM function
