struct table;
