"""Images with boxes or masks on them: read, changed together with what is marked, and given out in batches."""
