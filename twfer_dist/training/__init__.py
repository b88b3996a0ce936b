"""The harness that every training runs on: state, loop, checkpoints, observer, Ray Train workers."""
