"""Videos and people taken out of what preprocess and score have left."""
