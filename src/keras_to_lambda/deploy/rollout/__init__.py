"""Smoke tests of a deployed version, and the way back to an earlier one."""
