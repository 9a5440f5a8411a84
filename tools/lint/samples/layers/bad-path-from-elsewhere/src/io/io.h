struct io;
