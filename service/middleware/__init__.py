"""What happens to every request, whatever it asks: pure ASGI, one file each."""
