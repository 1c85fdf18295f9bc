-- Each delivery rewrites its row twice, when it is fetched and when it has ended. With room on its page the new versions
-- stay there, and what is dead goes without a vacuum. It counts for rows from now on.
alter table river_job set (fillfactor = 50);

---- create above / drop below ----

alter table river_job reset (fillfactor);
