"""What every room of the function uses: errors, settings, deadline, memory, numbers and text."""
