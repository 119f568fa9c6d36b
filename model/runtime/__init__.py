"""What every long run needs: settings, checkpoints, logs, signals, several processes."""
