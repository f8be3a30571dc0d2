"""What people start: commands, their workflows, the server."""
