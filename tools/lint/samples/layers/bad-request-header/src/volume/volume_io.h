struct volume;
