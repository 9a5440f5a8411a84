struct fake;
