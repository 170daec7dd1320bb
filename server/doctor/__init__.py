"""What `encore doctor` looks at: settings and machine, store, stream, project; and what to do about each."""
