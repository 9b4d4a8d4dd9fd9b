"""What could make good numbers false: odd images, copies, leaks, shortcuts."""
