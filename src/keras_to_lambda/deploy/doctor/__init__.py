"""Doctor: is this machine, this image and this account fit for a deployment; and what went wrong.

k2l doctor               checks, from near to far, each with its remedy
k2l doctor --explain     a pasted log: the cause and the fix, offline
"""
