"""Where files are kept that several machines share: a folder, or a bucket of an object store."""
