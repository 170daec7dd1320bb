"""Folders on this machine and in object storage, behind one noun."""
