"""The running lab: scenario files, its process, its control socket, store and registry, and what the verbs do with them."""
