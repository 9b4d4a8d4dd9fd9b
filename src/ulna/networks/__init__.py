"""All that knows TensorFlow, from batches to a prediction table, and what is to be trained."""
