"""The function as template.yaml deploys it by default, for the commands that run or ship it."""

# The function's defaults: as template.yaml has them.
MEMORY_MB = 1769
ARCHITECTURE = "x86_64"
PYTHON = "3.13"  # the Dockerfile's PYTHON_VERSION
# What callers reach, by template.yaml as by classic.sh: a version. The function itself stays as it
# is when a deployment is taken back.
ALIAS = "live"
