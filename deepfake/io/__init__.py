"""Where bytes lie: local disk and S3, locks, checksums and the tables' files."""
