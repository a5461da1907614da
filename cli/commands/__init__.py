"""The commands, a file each: options in, one call of the library, its result printed."""
