"""Time that jumps, and what is built on it: the same code under another clock."""
