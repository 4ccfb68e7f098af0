//! Configuration and runbook YAML, checked and resolved into an immutable plan.
