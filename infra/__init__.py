"""From a manifest to a CloudFormation stack: one construct per component.

Synthesis needs no credentials, no torch and no Docker.
"""
