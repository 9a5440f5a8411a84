struct sluice;
