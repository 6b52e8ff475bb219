"""A folder of photos -> a Keras classifier, its card and a report. The only part beside convert/
that imports TensorFlow; nothing in the function depends on it.
"""

import classifier  # noqa: F401  # leaves the current folder before anything else is imported
import convert  # noqa: F401  # says so where TensorFlow is missing
