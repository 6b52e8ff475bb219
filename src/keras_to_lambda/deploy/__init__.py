"""What runs and ships the function: the emulator, and the commands around deployment."""
