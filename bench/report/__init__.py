"""All that one run on a GPU can tell, in parts that fail and end alone: scripts/gpu_report.py."""
