"""What a load needs: unit costs as they were measured, and the arithmetic from them to machines and money."""
