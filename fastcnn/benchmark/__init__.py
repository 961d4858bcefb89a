"""What `fastcnn bench` measures, and how.

benchmarks/ measures older commits by these definitions too: what a workload calls is named as every commit has it, by
`fastcnn` itself, its layers and its backends.
"""
