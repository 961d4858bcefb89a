"""What `fastcnn bench` measures, and how; benchmarks/ reads the same workloads."""
