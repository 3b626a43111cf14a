create table example (id integer);
