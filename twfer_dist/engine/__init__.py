"""The contract between stages: plan, work, finish; storage, Ray and MLflow."""
