"""HTTP: from the bytes of a connection to a request's payload, and the responses."""
