"""The stages of the loop, one function a file; each reads files and writes files, and none imports another."""
