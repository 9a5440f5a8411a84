void bad(void)
{
	sleep (1);
}
