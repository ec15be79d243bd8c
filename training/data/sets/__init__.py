"""One file a data set; the file name is its name, with dashes for underscores."""
