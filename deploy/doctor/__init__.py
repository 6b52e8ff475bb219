"""Doctor: is this machine, this image and this account fit for a deployment; and what went wrong.

python -m deploy.doctor               checks, from near to far, each with its remedy
python -m deploy.doctor --explain     a pasted log: the cause and the fix, offline
"""
