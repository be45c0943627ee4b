"""From a source to units of work: files, frames, shards, lists and tables, each with its reader."""
