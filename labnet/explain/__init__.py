"""Would A reach B? A verdict from the desired state alone: what EC2 says and what the actors of nodes and pods claim (pure)."""
