"""A reproducible pipeline that tells abnormal from normal bone radiographs."""
