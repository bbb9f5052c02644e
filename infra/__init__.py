"""From a manifest to a CloudFormation stack: one construct per component. Synthesis needs no credentials, torch or Docker."""
