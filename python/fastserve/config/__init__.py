"""Model configuration: schema, parsing, completion and validation of config.pbtxt."""
