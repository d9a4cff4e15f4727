"""What people's review rests on: an index of all examples, queues over it, decisions, and figures. All of it is SQL on the store."""
