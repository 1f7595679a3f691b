"""Is an EC2 endpoint honest about networking? Checks by boto3 alone; nothing of labnet is imported here.

`python -m labnet.ec2.probe --endpoint-url URL` asks any endpoint the questions whose answers AWS documents, and says which
answers are not AWS's. Source: docs/sources.md#conformance-probe
"""
