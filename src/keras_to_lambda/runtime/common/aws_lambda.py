"""Numbers and paths of AWS Lambda that the code depends on, each in this one place."""

from __future__ import annotations

# A function gets one vCPU for each 1,769 MB of memory
# (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html).
MB_PER_VCPU = 1769
# The largest event and the largest answer of a synchronous invocation; an image in them is base64
# (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
MAX_EVENT_BYTES = 6 * 1024 * 1024
# The function's time-out in template.yaml; API Gateway gives up after 29 s.
TIMEOUT_S = 28
# Where the Runtime Interface Emulator, and whatever imitates it, takes an event.
INVOCATIONS_PATH = "/2015-03-31/functions/function/invocations"
