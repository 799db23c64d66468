"""A detector that was made elsewhere becomes a bundle, calibrated like a trained one."""
