"""What the person who runs the bridge sees: logs, metrics, health and the status page."""
