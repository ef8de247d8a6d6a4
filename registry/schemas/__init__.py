"""JSON to and from the registry's values, with what the OpenAPI document says of them."""
