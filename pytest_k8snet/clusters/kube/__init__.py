"""What kubeconfig and kind have in common: a cluster behind its API, and a namespace of the run's own."""
