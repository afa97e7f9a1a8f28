"""Benchmarks of dnsd beside its peers: black boxes on loopback, measured by the CPU time that a query takes."""
