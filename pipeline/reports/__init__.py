"""For people: what is published, how well the rules work, what would change. Publishes nothing."""
