"""The values that all parts share: addresses, names, AWS objects, kernel state, packets, scenarios (pure)."""
