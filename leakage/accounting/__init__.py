"""What differential privacy proves of a Gaussian mechanism: epsilon, delta, mu."""
