"""A reproducible pipeline that classifies bone radiographs as abnormal or normal."""
