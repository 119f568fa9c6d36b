"""What every training run needs: settings, checkpoints, logs, signals, distributed training."""
