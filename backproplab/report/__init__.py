"""A verdict as text, JSON and JUnit."""
