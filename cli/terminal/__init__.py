"""What commands show on a terminal: tables, the live view, progress. Drawing only, no logic of searches."""
