"""The commands, one file each: each parses options, calls the library once, and prints the result."""
