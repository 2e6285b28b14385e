"""pytest-k8snet: Kubernetes networking labs as conformance tests."""

__version__ = "0.1.0"
