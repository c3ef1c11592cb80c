"""What users would pick instead of llome, each measured by the same clock; scripts run in environments of their own."""
