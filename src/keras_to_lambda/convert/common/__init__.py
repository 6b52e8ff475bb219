"""What every room of convert uses: labels, samples, scaling, options, errors."""
