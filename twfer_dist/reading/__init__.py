"""The reader: from a face's measured Action Units to expressions, without training on the folder that it reads."""
