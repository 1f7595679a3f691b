"""EC2's rules: one pure function per action, `(state, params, context) → (state, response)`; boto3's shapes on both sides."""
