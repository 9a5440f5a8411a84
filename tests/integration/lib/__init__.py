"""What the integration tests and the demo are made of: processes, servers, clients, guests."""
